//! The CI job that a run happens in, as GitHub Actions and GitLab CI tell by their variables.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CiSystem {
    GitHub,
    GitLab,
}

/// What the job is of; none where its variables do not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CiContext {
    pub system: CiSystem,
    /// What was checked out. On GitHub that is, for a pull request, its trial merge, which is on no branch.
    pub commit: Option<String>,
    /// Of a pull request: the branch that it would merge.
    pub branch: Option<String>,
    /// The number, as text.
    pub pull_request: Option<String>,
    /// The page of this run.
    pub url: Option<String>,
    /// The file whose Markdown GitHub shows as the step's summary.
    pub summary_path: Option<String>,
}

/// Returns the CI job that `variable`, a look-up of environment variables, tells of; none outside of both systems.
///
/// Sources: docs.github.com, "Variables reference"; docs.gitlab.com, "Predefined CI/CD variables reference".
pub fn ci_context(variable: impl Fn(&str) -> Option<String>) -> Option<CiContext> {
    let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
    let is_true = |name: &str| variable(name).as_deref() == Some("true");
    if is_true("GITHUB_ACTIONS") {
        return Some(github(variable));
    }
    is_true("GITLAB_CI").then(|| gitlab(variable))
}

fn github(variable: impl Fn(&str) -> Option<String>) -> CiContext {
    let is_tag = variable("GITHUB_REF_TYPE").as_deref() == Some("tag");
    let reference = variable("GITHUB_REF").unwrap_or_default();
    // `refs/pull/7/merge`; other events of a pull request have the branch here, and the number nowhere.
    let number = reference.strip_prefix("refs/pull/").and_then(|rest| rest.split('/').next());
    let name = || variable("GITHUB_REF_NAME").filter(|_| !is_tag && number.is_none());
    CiContext {
        system: CiSystem::GitHub,
        commit: variable("GITHUB_SHA"),
        branch: variable("GITHUB_HEAD_REF").or_else(name),
        pull_request: number.filter(|number| !number.is_empty()).map(str::to_owned),
        url: github_url(&variable),
        summary_path: variable("GITHUB_STEP_SUMMARY"),
    }
}

fn github_url(variable: &impl Fn(&str) -> Option<String>) -> Option<String> {
    let server = variable("GITHUB_SERVER_URL")?;
    let (repository, run) = (variable("GITHUB_REPOSITORY")?, variable("GITHUB_RUN_ID")?);
    // Without it the page is that of the newest attempt.
    let attempt = variable("GITHUB_RUN_ATTEMPT").map_or(String::new(), |attempt| format!("/attempts/{attempt}"));
    Some(format!("{server}/{repository}/actions/runs/{run}{attempt}"))
}

fn gitlab(variable: impl Fn(&str) -> Option<String>) -> CiContext {
    let name = || variable("CI_COMMIT_REF_NAME").filter(|_| variable("CI_COMMIT_TAG").is_none());
    CiContext {
        system: CiSystem::GitLab,
        commit: variable("CI_COMMIT_SHA"),
        branch: variable("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME").or_else(name),
        pull_request: variable("CI_MERGE_REQUEST_IID"),
        url: variable("CI_JOB_URL").or_else(|| variable("CI_PIPELINE_URL")),
        summary_path: None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn check(variables: &[(&str, &str)], expected: Option<(CiSystem, [Option<&str>; 5])>) {
        let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
        let found = ci_context(|name| variables.get(name).map(|value| value.to_string()));
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let expected = expected.map(|(system, [commit, branch, pull_request, url, summary_path])| CiContext {
            system,
            commit: owned(commit),
            branch: owned(branch),
            pull_request: owned(pull_request),
            url: owned(url),
            summary_path: owned(summary_path),
        });
        assert_eq!(found, expected, "{variables:?}");
    }

    #[test]
    fn by_the_variables_that_each_system_documents() {
        check(&[], None);
        check(&[("CI", "true"), ("GITHUB_ACTIONS", "false")], None);
        check(&[("GITHUB_ACTIONS", "true")], Some((CiSystem::GitHub, [None; 5])));

        let github = [
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_SHA", "ffac537e"),
            ("GITHUB_SERVER_URL", "https://github.com"),
            ("GITHUB_REPOSITORY", "octocat/Hello-World"),
            ("GITHUB_RUN_ID", "1658821493"),
            ("GITHUB_RUN_ATTEMPT", "3"),
            ("GITHUB_STEP_SUMMARY", "/home/runner/_temp/summary"),
        ];
        let url = Some("https://github.com/octocat/Hello-World/actions/runs/1658821493/attempts/3");
        let github_case = |more: &[(&str, &str)], branch, pull_request| {
            let expected = [Some("ffac537e"), branch, pull_request, url, Some("/home/runner/_temp/summary")];
            check(&[&github, more].concat(), Some((CiSystem::GitHub, expected)));
        };
        let push = [("GITHUB_REF", "refs/heads/main"), ("GITHUB_REF_NAME", "main"), ("GITHUB_REF_TYPE", "branch")];
        github_case(&push, Some("main"), None);
        let pull = [("GITHUB_REF", "refs/pull/7/merge"), ("GITHUB_REF_NAME", "7/merge"), ("GITHUB_HEAD_REF", "faster")];
        github_case(&pull, Some("faster"), Some("7"));
        github_case(&[("GITHUB_REF", "refs/pull/7/merge"), ("GITHUB_REF_NAME", "7/merge")], None, Some("7"));
        github_case(
            &[("GITHUB_REF", "refs/tags/v1"), ("GITHUB_REF_NAME", "v1"), ("GITHUB_REF_TYPE", "tag")],
            None,
            None,
        );
        github_case(&[("GITHUB_REF", "refs/heads/main"), ("GITHUB_HEAD_REF", "")], None, None);

        let gitlab = [("GITLAB_CI", "true"), ("CI_COMMIT_SHA", "1ecfd275"), ("CI_COMMIT_REF_NAME", "main")];
        let gitlab_case = |more: &[(&str, &str)], branch, pull_request, url| {
            let expected = [Some("1ecfd275"), branch, pull_request, url, None];
            check(&[&gitlab, more].concat(), Some((CiSystem::GitLab, expected)));
        };
        let job = ("CI_JOB_URL", "https://gitlab.com/a/b/-/jobs/5");
        let pipeline = ("CI_PIPELINE_URL", "https://gitlab.com/a/b/-/pipelines/4");
        gitlab_case(&[job, pipeline], Some("main"), None, Some(job.1));
        gitlab_case(&[pipeline], Some("main"), None, Some(pipeline.1));
        let merge = [("CI_MERGE_REQUEST_IID", "12"), ("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "faster")];
        gitlab_case(&merge, Some("faster"), Some("12"), None);
        gitlab_case(&[("CI_COMMIT_TAG", "v1")], None, None, None);
    }
}
