//! `tidemark man` and `tidemark completions`: made from the command line's own definition.

use std::io;

use clap::Command;
use clap_mangen::Man;

/// Returns one page with every verb and its options.
pub fn page(command: Command) -> io::Result<Vec<u8>> {
    let command = with_full_names(command);
    let mut page = Vec::new();
    let root = Man::new(command.clone()).date("").manual("Tidemark");
    root.render_title(&mut page)?;
    root.render_name_section(&mut page)?;
    root.render_synopsis_section(&mut page)?;
    root.render_description_section(&mut page)?;
    root.render_options_section(&mut page)?;
    page.extend(examples(&root)?);
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        let mut part = Vec::new();
        let of_verb = Man::new(verb.clone());
        of_verb.render_synopsis_section(&mut part)?;
        of_verb.render_description_section(&mut part)?;
        of_verb.render_options_section(&mut part)?;
        part.extend(examples(&of_verb)?);
        page.extend_from_slice(format!(".SH \"TIDEMARK {}\"\n", verb.get_name().to_uppercase()).as_bytes());
        // The sections of a verb's own page are parts of its section here.
        page.extend_from_slice(String::from_utf8_lossy(&part).replace(".SH ", ".SS ").as_bytes());
    }
    Ok(page)
}

/// Returns the examples with their lines as they are.
fn examples(of: &Man) -> io::Result<Vec<u8>> {
    let mut section = Vec::new();
    of.render_extra_section(&mut section)?;
    let section =
        String::from_utf8_lossy(&section).replace(".SH EXTRA", ".SH EXAMPLES\n.nf").replace("Examples:\n", "");
    Ok(if section.is_empty() { Vec::new() } else { format!("{section}.fi\n").into_bytes() })
}

/// A verb's usage begins with the program's name; the options that every verb has are told once.
fn with_full_names(mut command: Command) -> Command {
    command.build();
    let told_once = |name: &str| name == "help" || name == "config";
    command.mut_subcommands(|verb| {
        verb.mut_args(|arg| if told_once(arg.get_id().as_str()) { arg.hide(true) } else { arg })
    })
}

pub fn completions(shell: clap_complete::Shell, mut command: Command) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "tidemark", &mut script);
    script
}
