#include "native/hypercall_test/check.hpp"

namespace horos::hypercall_test {
namespace {

u32 take(u32 count = 1) { return own_memory().take(count); }

void create_domain_and_spaces() {
    expect("domain_create", user::domain_create(take(), take(), fixture::domain));
    expect("space_create host", user::space_create(take(), take(), fixture::space, 0));
    expect("space_create guest", user::space_create(take(), take(), fixture::guest_space, 1));
}

void create_threads() {
    const u32 core = my_core();
    expect("thread_create",
           user::thread_create(take(), fixture::thread, fixture::domain, fixture::space));
    expect("sc_create", user::sc_create(take(), fixture::context, core, 13, 0));
    // The helper is a thread of this very program: it runs the code of the tests.
    expect("thread_create own",
           user::thread_create(take(), fixture::helper, abi::start_selector::domain,
                               abi::start_selector::space));
    expect("sc_create own", user::sc_create(take(), fixture::helper_context, core, 12, 0));
    expect("sc_bind", user::sc_bind(fixture::helper_context, fixture::helper));
}

void create_devices() {
    using namespace abi::start_selector;
    expect("irq_create", user::irq_create(take(), fixture::interrupt, irq_control, my_core(), 9,
                                          abi::irq_flag::level));
    expect("ports_create", user::ports_create(take(), fixture::ports, all_ports, 0x70, 0x80));
    expect("mmio_create", user::mmio_create(take(), fixture::mmio, all_mmio, 0xfed00, 4));
}

} // namespace

void create_fixtures() {
    create_domain_and_spaces();
    create_threads();
    create_devices();
    expect("endpoint_create", user::endpoint_create(take(), fixture::endpoint));
    expect("notification_create", user::notification_create(take(), fixture::notification));
    expect("frame_share",
           user::frame_share(take(), fixture::memory,
                             abi::right::read | abi::right::write | abi::right::manage));
    const u32 frames = take(4);
    expect("vcpu_create", user::vcpu_create(frames, fixture::vcpu, fixture::guest_space, frames + 1,
                                            frames + 2, frames + 3));
}

} // namespace horos::hypercall_test
