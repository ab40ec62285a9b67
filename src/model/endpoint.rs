//! The endpoint that a request belongs to: its name, or its URL with the ids taken out.

/// Stands where an id stood in a URL.
pub const PLACEHOLDER: &str = "{id}";

/// Returns the endpoint of a request's `name` tag.
///
/// A name that a script chose stays as it is. k6 puts the URL there when the script chose none; then path segments that
/// look like ids become `{id}`, and the values of the query do too, so that `/users/1` and `/users/2` are one endpoint.
pub fn endpoint(name: &str) -> String {
    let Some(scheme_end) = name.find("://").filter(|end| is_scheme(&name[..*end])) else {
        return name.to_owned();
    };
    let after_scheme = &name[scheme_end + 3..];
    let without_fragment = after_scheme.split('#').next().unwrap_or(after_scheme);
    let (address, query) = match without_fragment.split_once('?') {
        Some((address, query)) => (address, Some(query)),
        None => (without_fragment, None),
    };
    let mut template = name[..scheme_end + 3].to_owned();
    for (index, segment) in address.split('/').enumerate() {
        if index > 0 {
            template.push('/');
        }
        let is_host = index == 0;
        template.push_str(if !is_host && is_id(segment) { PLACEHOLDER } else { segment });
    }
    if let Some(query) = query {
        template.push('?');
        template.push_str(&query_names(query));
    }
    template
}

fn is_scheme(text: &str) -> bool {
    matches!(text, "http" | "https" | "ws" | "wss" | "grpc" | "grpcs")
}

/// Keeps the names of a query's parameters, sorted, and replaces every value.
fn query_names(query: &str) -> String {
    let mut names: Vec<&str> = query.split('&').map(|pair| pair.split('=').next().unwrap_or(pair)).collect();
    names.sort_unstable();
    names.dedup();
    let pairs: Vec<String> = names.iter().map(|name| format!("{name}={PLACEHOLDER}")).collect();
    pairs.join("&")
}

/// Says whether a path segment names one thing among many: a number, a UUID, a hash, a long token.
fn is_id(segment: &str) -> bool {
    let digits = segment.bytes().filter(u8::is_ascii_digit).count();
    if digits == 0 {
        return false;
    }
    let all_digits_or_signs =
        segment.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.' | b',' | b':'));
    // `v1` and `oauth2` are words; `1.2.3` behind no letter is a version or an id, and both vary.
    if all_digits_or_signs {
        return true;
    }
    let letters_and_dashes_hex = segment.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    if letters_and_dashes_hex && segment.len() >= 8 {
        return true;
    }
    let token = segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    // Words with a digit in them (`checkout-v2`) are short and have few digits; random tokens are long and have many.
    token && segment.len() >= 16 && digits * 8 >= segment.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expected: &str) {
        assert_eq!(endpoint(name), expected);
    }

    #[test]
    fn ids_become_placeholders() {
        check("checkout", "checkout");
        check("/users/17", "/users/17"); // a name that the script chose
        check("https://shop/users/17", "https://shop/users/{id}");
        check("https://shop:8443/users/17/orders", "https://shop:8443/users/{id}/orders");
        check("http://s/o/3f2504e0-4f89-11d3-9a0c-0305e82c3301", "http://s/o/{id}");
        check("http://s/o/deadbeef01/x", "http://s/o/{id}/x");
        check("http://s/api/v1/oauth2/facade", "http://s/api/v1/oauth2/facade");
        check("http://s/search?q=red+shoes&page=3", "http://s/search?page={id}&q={id}");
        check("http://s/t/eyJhbGciOiJIUzI1NiJ9x3", "http://s/t/{id}");
        check("http://10.0.0.1/a#b", "http://10.0.0.1/a");
        check("http://s/users/${}", "http://s/users/${}");
        check("http://s", "http://s");
        check("", "");
    }
}
