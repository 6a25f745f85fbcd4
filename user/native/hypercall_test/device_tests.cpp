// Interrupts, ports, device memory, virtual CPUs, the platform.
#include <horos/rt/report.hpp>
#include <horos/rt/time.hpp>

#include "native/hypercall_test/check.hpp"
#include "native/support/small_guest.hpp"

namespace horos::hypercall_test {
namespace {

using namespace abi::start_selector;
constexpr u32 missing_frame = abi::max_frames - 1;

u32 take(u32 count = 1) { return own_memory().take(count); }
u32 slot(u32 n) { return fixture::scratch + n; }

void test_interrupts() {
    expect("irq_create gsi", user::irq_create(take(), slot(0), irq_control, my_core(), 120, 0),
           Error::bad_argument);
    expect("irq_create flags", user::irq_create(take(), slot(0), irq_control, my_core(), 10, 4),
           Error::bad_argument);
    expect("irq_create taken", user::irq_create(take(), slot(0), irq_control, my_core(), 9, 0),
           Error::irq_taken);
    expect("irq_create no line", user::irq_create(take(), slot(0), irq_control, my_core(), 119, 0),
           Error::irq_taken);
    expect("irq_bind no bits", user::irq_bind(fixture::interrupt, fixture::notification, 0),
           Error::bad_argument);
    expect("irq_ack unbound", user::irq_ack(fixture::interrupt), Error::wrong_state);
    expect("irq_bind", user::irq_bind(fixture::interrupt, fixture::notification, 8));
    expect("irq_bind again", user::irq_bind(fixture::interrupt, fixture::notification, 8),
           Error::busy);
    expect("irq_ack nothing arrived", user::irq_ack(fixture::interrupt), Error::wrong_state);
    expect("msi_create index", user::msi_create(take(), slot(0), irq_control, my_core(), 48),
           Error::bad_argument);
    const u32 frame = take();
    const auto message = user::msi_create(frame, slot(0), irq_control, my_core(), 47);
    expect("msi_create", message);
    expect_value("msi address", message.address >> 20, 0xfee);
    expect("msi_create taken", user::msi_create(take(), slot(1), irq_control, my_core(), 47),
           Error::irq_taken);
    expect("frame_reclaim msi", user::frame_reclaim(domain, frame, 0));
    (void)user::cap_delete(slot(0));
    expect("msi_create after reclaim",
           user::msi_create(frame, slot(0), irq_control, my_core(), 47));
    (void)user::cap_delete(slot(0));
}

void test_ports() {
    expect("ports_create order", user::ports_create(take(), slot(0), all_ports, 2, 1),
           Error::bad_argument);
    expect("ports_create outside", user::ports_create(take(), slot(0), fixture::ports, 0x6f, 0x70),
           Error::port_denied);
    expect("ports_create end", user::ports_create(take(), slot(0), fixture::ports, 0x80, 0x81),
           Error::port_denied);
    expect("port_in size", user::port_in(fixture::ports, 0x71, 3), Error::bad_argument);
    expect("port_in outside", user::port_in(fixture::ports, 0x6f, 1), Error::port_denied);
    expect("port_in over the end", user::port_in(fixture::ports, 0x80, 2), Error::port_denied);
    expect("port_in kernel's", user::port_in(all_ports, 0x21, 1), Error::port_denied);
    expect("port_in over the kernel's", user::port_in(all_ports, 0x1e, 4), Error::port_denied);
    expect("port_out size", user::port_out(fixture::ports, 0x80, 0, 0), Error::bad_argument);
    expect("port_out outside", user::port_out(fixture::ports, 0x81, 1, 0), Error::port_denied);
    expect("port_out kernel's", user::port_out(all_ports, 0xa1, 1, 0), Error::port_denied);
    // A byte of CMOS memory that the firmware does not use.
    expect("port_out index", user::port_out(fixture::ports, 0x70, 1, 0x70));
    expect("port_out data", user::port_out(fixture::ports, 0x71, 1, 0xa5));
    expect("port_out index again", user::port_out(fixture::ports, 0x70, 1, 0x70));
    const auto value = user::port_in(fixture::ports, 0x71, 1);
    expect("port_in", value);
    expect_value("port_in value", value.value, 0xa5);
}

void test_device_memory() {
    expect("mmio_create none", user::mmio_create(take(), slot(0), fixture::mmio, 0xfed00, 0),
           Error::bad_argument);
    expect("mmio_create before", user::mmio_create(take(), slot(0), fixture::mmio, 0xfecff, 1),
           Error::bad_argument);
    expect("mmio_create beyond", user::mmio_create(take(), slot(0), fixture::mmio, 0xfed03, 2),
           Error::bad_argument);
    expect("mmio_create overflow", user::mmio_create(take(), slot(0), fixture::mmio, ~u64{0}, 1),
           Error::bad_argument);
    expect("mmio_create part", user::mmio_create(take(), slot(0), fixture::mmio, 0xfed01, 2));
    (void)user::cap_delete(slot(0));
}

void test_permission_maps() {
    const u32 guest = fixture::guest_space;
    expect("guest_port without map", user::guest_port(guest, fixture::ports, 0x70, 1),
           Error::wrong_state);
    expect("guest_msr without map", user::guest_msr(guest, 0xc000'0082, 3), Error::wrong_state);
    expect("space_io_map host space", user::space_io_map(fixture::space, take(3)),
           Error::wrong_space);
    expect("space_io_map foreign", user::space_io_map(guest, foreign_frame()), Error::not_owner);
    expect("space_io_map missing", user::space_io_map(guest, missing_frame), Error::bad_frame);
    expect("space_io_map whole", user::space_io_map(guest, own_memory().whole_block(0) * 512),
           Error::block_whole);
    expect("space_io_map", user::space_io_map(guest, take(3)));
    expect("space_io_map again", user::space_io_map(guest, take(3)), Error::busy);
    expect("space_msr_map host space", user::space_msr_map(fixture::space, take(2)),
           Error::wrong_space);
    expect("space_msr_map foreign", user::space_msr_map(guest, foreign_frame()), Error::not_owner);
    expect("space_msr_map", user::space_msr_map(guest, take(2)));
    expect("space_msr_map again", user::space_msr_map(guest, take(2)), Error::busy);
    expect("guest_port allow 2", user::guest_port(guest, fixture::ports, 0x70, 2),
           Error::bad_argument);
    expect("guest_port outside", user::guest_port(guest, fixture::ports, 0x60, 1),
           Error::port_denied);
    expect("guest_port kernel's", user::guest_port(guest, all_ports, 0x20, 1), Error::port_denied);
    expect("guest_port", user::guest_port(guest, fixture::ports, 0x80, 1));
    expect("guest_port back", user::guest_port(guest, fixture::ports, 0x80, 0));
    expect("guest_port host space", user::guest_port(fixture::space, fixture::ports, 0x80, 1),
           Error::wrong_space);
    expect("guest_msr access", user::guest_msr(guest, 0xc000'0082, 4), Error::bad_argument);
    expect("guest_msr EFER", user::guest_msr(guest, 0xc000'0080, 1), Error::bad_argument);
    expect("guest_msr", user::guest_msr(guest, 0xc000'0082, 3));
    expect("guest_msr host space", user::guest_msr(fixture::space, 0xc000'0082, 3),
           Error::wrong_space);
}

native::SmallGuest guest;
volatile u64 error_there = ~u64{0};
volatile u64 call_error_there = ~u64{0};

// On another core: the virtual CPU and the endpoint live on the first one.
[[noreturn]] void run_elsewhere() {
    error_there = static_cast<u64>(user::vcpu_run(guest.vcpu()).error);
    call_error_there = static_cast<u64>(user::call(fixture::endpoint, 0, 0, 0, 0).error);
    for (;;) {
        (void)user::thread_exit(0);
    }
}

void test_other_core() {
    if (other_core() == 0) {
        return;
    }
    constexpr u64 stack = scratch_address + 0x180'0000;
    own_memory().page(stack);
    const u32 thread = slot(8), context = slot(9);
    expect("thread_create for another core", user::thread_create(take(), thread, domain, space));
    expect("sc_create on another core", user::sc_create(take(), context, other_core(), 13, 0));
    expect("sc_bind on another core", user::sc_bind(context, thread));
    expect("thread_start on another core",
           user::thread_start(thread, reinterpret_cast<u64>(&run_elsewhere),
                              stack + abi::frame_size - 8, 0, 0));
    const u64 give_up = rt::now() + rt::ticks_of_ms(2000, rt::start_page().tsc_khz);
    while (user::thread_info(thread, 0).a != static_cast<u64>(abi::ThreadState::exited) &&
           rt::now() < give_up) {
    }
    expect_value("vcpu_run on another core", error_there, static_cast<u64>(Error::wrong_core));
    expect_value("call on another core", call_error_there, static_cast<u64>(Error::wrong_core));
}

void test_runs() {
    guest.create(own_memory(), slot(4), scratch_address + 0x1000'0000);
    constexpr u8 halt[] = {0xf4};
    guest.load(halt, halt + sizeof halt);
    const auto exit = guest.run(100);
    expect("vcpu_run", exit.error, Error::ok);
    expect_value("vcpu_run exit", static_cast<u64>(exit.reason),
                 static_cast<u64>(abi::ExitReason::hlt));
    guest.reset();
    guest.state().deadline = 0;
    const auto late = user::vcpu_run(guest.vcpu());
    expect_value("vcpu_run past deadline", late.exit_reason,
                 static_cast<u64>(abi::ExitReason::deadline));
    guest.reset();
    guest.state().efer = ~u64{0};
    expect("vcpu_run guard", user::vcpu_run(guest.vcpu()), Error::guard);
    (void)user::signal(notification(0), u64{1} << 50);
    guest.reset();
    const auto told = user::vcpu_run(guest.vcpu());
    expect_value("vcpu_run notified", told.exit_reason,
                 static_cast<u64>(abi::ExitReason::notified));
    expect_value("vcpu_run notified bits", guest.state().info[0], u64{1} << 50);
    test_other_core();
}

} // namespace

void test_devices() {
    test_interrupts();
    test_ports();
    test_device_memory();
}

void test_vcpus() {
    const u32 frames = take(4);
    expect("vcpu_create host space",
           user::vcpu_create(frames, slot(0), fixture::space, frames + 1, frames + 2, frames + 3),
           Error::wrong_space);
    expect("vcpu_create same frames",
           user::vcpu_create(frames, slot(0), fixture::guest_space, frames, frames + 2, frames + 3),
           Error::frame_in_use);
    expect("vcpu_create foreign control",
           user::vcpu_create(frames, slot(0), fixture::guest_space, foreign_frame(), frames + 2,
                             frames + 3),
           Error::not_owner);
    expect("vcpu_create foreign fpu",
           user::vcpu_create(frames, slot(0), fixture::guest_space, frames + 1, foreign_frame(),
                             frames + 3),
           Error::not_owner);
    expect("vcpu_create foreign state",
           user::vcpu_create(frames, slot(0), fixture::guest_space, frames + 1, frames + 2,
                             foreign_frame()),
           Error::not_owner);
    expect("vcpu_create missing state",
           user::vcpu_create(frames, slot(0), fixture::guest_space, frames + 1, frames + 2,
                             missing_frame),
           Error::bad_frame);
    test_permission_maps();
    test_runs();
}

void test_platform() {
    expect("platform_control operation", user::platform_control(platform, 2, 0),
           Error::bad_argument);
    expect("platform_control sleep type", user::platform_control(platform, 0, 8),
           Error::bad_argument);
    expect("log nothing", user::log(platform, 0, 0, 0, 0, 0), Error::bad_argument);
    expect("log too much", user::log(platform, 33, 0, 0, 0, 0), Error::bad_argument);
    expect("log", user::log(platform, 1, '\n', 0, 0, 0));
    expect("null", user::null());
}

} // namespace horos::hypercall_test
