//! A server with 3,000 flights: 1,000 delivered, then 1,000 delivered apart, then 1,000 still in the log.

use millrace_tests::flights;
use millrace_tests::pipeline::Pipeline;
use millrace_tests::site::Site;

pub(crate) const FLIGHTS: usize = 3000;

pub(crate) fn with_pipeline(pipeline: &Pipeline) -> Site {
    let site = Site::start();
    let _said = site.apply(pipeline);
    site
}

pub(crate) fn with_flights() -> Site {
    let site = with_pipeline(&Pipeline::new("flights"));
    let lines: Vec<String> = flights::lines().take(FLIGHTS).collect();
    let _said = site.put_lines("flights", &lines[..1000]);
    site.flush("flights");
    let _said = site.put_lines("flights", &lines[1000..2000]);
    site.flush("flights");
    let _said = site.put_lines("flights", &lines[2000..]);
    site
}
