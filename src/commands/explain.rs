//! `explain ERRCODE`: what WeChat means by it here, and who must act.

use crate::commands::CommandError;
use crate::wechat::errcode::{self, PhoneErrcode};
use crate::wechat::explained::explain;

#[derive(clap::Args)]
pub(super) struct Args {
    /// WeChat's errcode, such as 40029
    #[arg(allow_negative_numbers = true)]
    errcode: i64,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[expect(clippy::print_stdout, reason = "the explanation is what the command is for")]
pub(super) fn run(args: &Args) -> Result<(), CommandError> {
    let Args { errcode, json } = *args;
    let told_as = told_as(errcode);
    let Some(explanation) = explain(errcode) else {
        let what = format!("errcode {errcode} is not known here; a login that meets it is told {told_as}");
        return Err(CommandError::at_run_time(what).with_hint("WeChat's list of global return codes may have it"));
    };
    let (who, who_chinese) = explanation.who.in_words();
    if json {
        let object = serde_json::json!({
            "errcode": errcode, "told_as": told_as, "meaning": explanation.english, "meaning_zh": explanation.chinese,
            "who": who, "who_zh": who_chinese,
        });
        println!("{object}");
    } else {
        println!("{errcode}: {}", explanation.english);
        println!("  who must act: {who}");
        println!("  a login is told: {told_as}");
        println!("{errcode}：{}", explanation.chinese);
        println!("  由谁处理：{who_chinese}");
    }
    Ok(())
}

/// The reason that a login ends with, if it ends with this errcode.
fn told_as(errcode: i64) -> &'static str {
    match errcode::of_phone(errcode) {
        _ if errcode == 0 => "succeeded",
        PhoneErrcode::Busy => "unavailable, at the end of the patience",
        PhoneErrcode::DeadCode => "invalid_code, or in_doubt after an answer that was never heard",
        PhoneErrcode::OtherApp => "app_mismatch",
        PhoneErrcode::BadToken => "token_unavailable, if WeChat goes on refusing its own tokens",
        PhoneErrcode::Throttled => "throttled, at the end of the patience",
        PhoneErrcode::NotAllowed => "not_allowed",
        PhoneErrcode::Other => "refused, or token_unavailable when a token endpoint says it",
    }
}
