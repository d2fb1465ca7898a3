//! More workers on the same broker and Redis: what each adds until something else is the limit.

use crate::ground::Ground;
use crate::plan::Plan;

pub(crate) async fn measure(_ground: &Ground, _plan: &Plan) {
    unimplemented!("later")
}
