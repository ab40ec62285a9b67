// Opens a report page in headless Chromium and tries it as readers do: wide and narrow, light and dark, on paper, by mouse
// and by keyboard. Fails on an error in the console, a request, a page wider than its window, and on what axe-core calls
// serious or critical. Screenshots and the PDF go to the folder.
//
//   npm install; node check.mjs REPORT.html FOLDER
//
// CHROMIUM names another browser than /usr/bin/chromium.
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import puppeteer from "puppeteer-core";

const [path, folder] = process.argv.slice(2);
if (!path || !folder) throw new Error("usage: node check.mjs REPORT.html FOLDER");
const url = pathToFileURL(resolve(path)).href;
const name = basename(path, ".html");
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
mkdirSync(folder, { recursive: true });

const faults = [];
const expect = (holds, words) => { if (!holds) faults.push(words); };
const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--allow-file-access-from-files", "--force-prefers-reduced-motion"],
});

async function open(width, scheme, options = {}) {
  const page = await browser.newPage();
  await page.setViewport({ width, height: width < 800 ? 844 : 900, isMobile: width < 800, hasTouch: width < 800, deviceScaleFactor: width < 800 ? 2 : 1 });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  const where = `${width} px, ${scheme}`;
  page.on("console", (message) => { if (["error", "warn"].includes(message.type())) faults.push(`${where}: console: ${message.text()}`); });
  page.on("pageerror", (error) => faults.push(`${where}: ${error}`));
  page.on("dialog", (dialog) => { faults.push(`${where}: a dialog opened: ${dialog.message()}`); dialog.dismiss(); });
  page.on("request", (request) => { if (request.url() !== url && !request.url().startsWith("data:")) faults.push(`${where}: request of ${request.url()}`); });
  if (options.withoutScript) await page.setJavaScriptEnabled(false);
  await page.goto(url, { waitUntil: "load" });
  return page;
}

// Every element that reaches beyond the window, unless something around it scrolls.
const overflow = () => {
  const width = document.documentElement.clientWidth;
  const scrolls = (element) => {
    for (let around = element.parentElement; around; around = around.parentElement) {
      if (["auto", "scroll", "hidden", "clip"].includes(getComputedStyle(around).overflowX)) return true;
    }
    return false;
  };
  const beyond = [...document.body.querySelectorAll("*")].filter((element) => {
    const box = element.getBoundingClientRect();
    return box.width > 0 && box.right > width + 1 && box.left > -width && !element.closest("svg:not(:root)") && !scrolls(element);
  });
  const scroll = document.documentElement.scrollWidth > width ? [`the page is ${document.documentElement.scrollWidth} px wide`] : [];
  return scroll.concat(beyond.slice(0, 5).map((element) => `${element.tagName}.${element.className}`));
};

// The best of four: the browser itself starts with the first page, and other programs only make it slower.
const readyTimes = [];
for (let count = 0; count < 4; count += 1) {
  const page = await open(1400, "light");
  const ready = await page.evaluate(() => document.documentElement.dataset.ready);
  if (ready !== undefined) readyTimes.push(Number(ready));
  await page.close();
}
if (readyTimes.length) {
  console.log(`interactive after ${readyTimes.join(", ")} ms`);
}

for (const width of [1400, 390]) {
  for (const scheme of ["light", "dark"]) {
    const where = `${width} px, ${scheme}`;
    const page = await open(width, scheme);
    for (const what of await page.evaluate(overflow)) faults.push(`${where}: reaches beyond the window: ${what}`);
    await page.screenshot({ path: join(folder, `${name}-${width}-${scheme}.png`), fullPage: true });
    // The page's own policy forbids foreign scripts: the debugger is not bound by it.
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
    for (const { id, impact, nodes } of violations) {
      const words = `${where}: axe: ${impact}: ${id}: ${nodes.length} x ${nodes[0].html.slice(0, 120)} ${nodes[0].any.map((any) => any.message).join(" ").slice(0, 200)}`;
      if (["serious", "critical"].includes(impact)) faults.push(words);
      else console.log(words);
    }
    await page.close();
  }
}

// By mouse and keyboard.
const page = await open(1400, "light");
const text = (selector) => page.$eval(selector, (element) => element.textContent);
const shot = (what) => page.screenshot({ path: join(folder, `${name}-${what}.png`) });
if (await page.$("#endpoint-table")) {
  const column = (index) => page.$$eval("#endpoint-table tbody tr", (rows, index) => rows.filter((row) => !row.hidden).map((row) => row.cells[index].dataset.v ?? row.cells[index].textContent), index);
  const numbers = async (index) => (await column(index)).filter((value) => value !== "").map(Number);
  const isDescending = (values) => values.every((value, index) => index === 0 || values[index - 1] >= value);
  const p95 = await page.$("#endpoint-table thead th:nth-child(6) button");
  await p95.click();
  expect(isDescending(await numbers(5)), "p95 is not sorted, greatest first");
  expect(await page.$eval("#endpoint-table thead th:nth-child(6)", (head) => head.ariaSort) === "descending", "aria-sort does not say descending");
  await p95.focus();
  await page.keyboard.press("Enter");
  expect(isDescending((await numbers(5)).reverse()), "p95 is not sorted, least first");
  const word = (await text("#endpoint-table tbody th bdi")).slice(0, 6);
  await page.type("#filter", word);
  const left = await page.$$eval("#endpoint-table tbody tr", (rows) => rows.filter((row) => row.checkVisibility()).map((row) => row.textContent.toLowerCase()));
  expect(left.length > 0 && left.every((row) => row.includes(word.trim().toLowerCase())), `the filter ${word} shows other rows`);
  expect((await text("#filtered")).startsWith(`${left.length} of`), "the filter does not say how many rows are left");
  await shot("sorted-filtered");
}
if (await page.$(".chart")) {
  const plot = await page.$('.chart[data-chart="latency"] .u-over');
  await plot.scrollIntoView();
  const box = await plot.boundingBox();
  const middle = box.y + box.height / 2;
  await page.mouse.move(box.x + box.width * 0.52, middle);
  const at = await text("#at");
  expect(/^\d\d:\d\d:\d\d UTC/.test(at), `no time under the mouse: ${at}`);
  const values = await page.$$eval(".legend output", (outputs) => outputs.filter((output) => output.textContent).length);
  expect(values >= 4, "the charts do not show their values together");
  await shot("hover");
  const isWhole = () => page.$eval("#zoom-reset", (button) => button.disabled);
  await page.mouse.move(box.x + box.width * 0.4, middle);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.6, middle, { steps: 5 });
  await page.mouse.up();
  await new Promise((done) => setTimeout(done, 50));
  expect(!(await isWhole()), "dragging does not zoom");
  await shot("zoomed");
  await page.mouse.click(box.x + box.width / 2, middle, { count: 2 });
  await new Promise((done) => setTimeout(done, 50));
  expect(await isWhole(), "a double click does not show the whole run");
  await page.focus('.chart[data-chart="latency"] .plot');
  await page.keyboard.press("Home");
  await page.keyboard.press("ArrowRight");
  expect(await page.$eval('.chart[data-chart="latency"] .plot', (element) => element.ariaValueNow) === "1", "the arrow does not move the cursor");
  await page.keyboard.press("+");
  expect(!(await isWhole()), "+ does not zoom");
  await page.keyboard.press("0");
  expect(await isWhole(), "0 does not show the whole run");
  await page.click(".legend button");
  expect(await page.$eval(".legend button", (button) => button.ariaPressed) === "false", "the legend does not hide a line");
  await page.click(".legend button");
  const pixels = () => page.$eval('.chart[data-chart="latency"] canvas', (canvas) => canvas.toDataURL());
  if ((await page.$$("#endpoint option")).length > 1) {
    const before = await pixels();
    await page.select("#endpoint", "0");
    expect(before !== await pixels(), "choosing an endpoint does not change the chart");
    await shot("endpoint");
    await page.select("#endpoint", "");
  }
  if (await page.$(".show")) {
    await page.click(".show");
    await new Promise((done) => setTimeout(done, 100));
    await shot("finding");
    await page.click("#zoom-reset");
  }
  await page.click(".as-table summary");
  await page.waitForSelector(".as-table tbody tr");
}
if (await page.$("svg.flame-graph")) {
  await page.evaluate(() => document.querySelectorAll("details.exhibit").forEach((details) => { details.open = true; }));
  const hidden = () => page.$$eval("svg.flame-graph g", (frames) => frames.filter((frame) => frame.getAttribute("visibility") === "hidden").length);
  const widest = () => page.$eval("svg.flame-graph", (graph) => Math.max(...Array.from(graph.querySelectorAll(".at rect"), (rect) => Number(rect.getAttribute("width")))));
  await page.$eval("svg.flame-graph", (graph) => graph.focus());
  for (const key of ["ArrowDown", "ArrowDown", "ArrowDown"]) await page.keyboard.press(key);
  expect(/when healthy/.test(await text(".flame .told")), "the arrows do not tell a frame of the flame graph");
  await page.keyboard.press("Enter");
  expect((await widest()) > 1100, "Enter does not make a frame as wide as the flame graph");
  await page.keyboard.press("Escape");
  expect((await hidden()) === 0, "Escape does not show the whole flame graph");
  const narrow = await page.evaluateHandle(() => Array.from(document.querySelectorAll("svg.flame-graph g")).filter((frame) => frame.dataset.w > 100 && frame.dataset.w < 800).at(-1));
  if (narrow.asElement()) {
    await narrow.asElement().click();
    expect((await hidden()) > 0 && (await widest()) > 1100, "a click does not zoom the flame graph");
    await shot("flame");
    await page.keyboard.press("Escape");
  }
}
const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
const before = await ground();
await page.click("#theme");
expect(before !== await ground(), "the theme does not change");
await page.click("#theme");
await page.close();
const paper = await open(1400, "dark");
await paper.pdf({ path: join(folder, `${name}.pdf`), format: "A4", printBackground: true, preferCSSPageSize: true });
await paper.close();

const still = await open(1400, "light", { withoutScript: true });
await still.screenshot({ path: join(folder, `${name}-without-script.png`), fullPage: true });
await browser.close();
faults.forEach((fault) => console.error(fault));
console.log(faults.length ? `${name}: ${faults.length} faults` : `${name}: no fault`);
process.exitCode = faults.length ? 1 : 0;
