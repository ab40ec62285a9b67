/* What reading a topic costs at least: librdkafka's own loop, which only counts.
 *
 * cc -O2 bare_consumer.c -lrdkafka -o bare_consumer; bare_consumer BROKERS TOPIC PARTITIONS
 * Prints the messages, and the seconds from the first to the last. */
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    char error[512];
    if (argc != 4) return 2;
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers", argv[1], error, sizeof error);
    rd_kafka_conf_set(conf, "group.id", "bare", error, sizeof error);
    rd_kafka_conf_set(conf, "enable.auto.commit", "false", error, sizeof error);
    rd_kafka_conf_set(conf, "enable.partition.eof", "true", error, sizeof error);
    rd_kafka_t *client = rd_kafka_new(RD_KAFKA_CONSUMER, conf, error, sizeof error);
    if (!client) return fprintf(stderr, "%s\n", error), 1;
    rd_kafka_poll_set_consumer(client);
    int partitions = atoi(argv[3]), open = partitions;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(partitions);
    for (int partition = 0; partition < partitions; partition++)
        rd_kafka_topic_partition_list_add(list, argv[2], partition)->offset = RD_KAFKA_OFFSET_BEGINNING;
    rd_kafka_assign(client, list);
    long count = 0;
    double first = 0, last = 0;
    while (open > 0) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(client, 1000);
        if (!message) continue;
        if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
            open--;
        } else if (!message->err) {
            if (count++ == 0) first = now();
            last = now();
        }
        rd_kafka_message_destroy(message);
    }
    last = now();
    printf("%ld %f\n", count, last - first);
    rd_kafka_consumer_close(client);
    return 0;
}
