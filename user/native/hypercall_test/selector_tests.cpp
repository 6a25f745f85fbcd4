// Each selector argument of each call: with an empty slot, a slot without table, an object of
// another type, a capability without the right, a dead capability. And the generated table of
// arguments that no decoder may let through.
#include <horos/abi/gen/bad_arguments.hpp>

#include "native/hypercall_test/check.hpp"

namespace horos::hypercall_test {
namespace {

using abi::Call;
namespace right = abi::right;
using namespace abi::start_selector;

constexpr u32 stale_slot = fixture::weak + 1;

// The other arguments are such that the call gets as far as this selector.
struct SelectorCase {
    Call call;
    u32 argument;
    u32 object; // a selector that would be right
    u8 needed;  // right
    u64 others[6];
};

constexpr u64 free_frame = 1; // stands for a frame of our own
constexpr u64 empty = fixture::empty;

constexpr SelectorCase cases[] = {
    {Call::frame_give, 0, fixture::domain, right::write, {0, free_frame, 1}},
    {Call::block_give, 0, fixture::domain, right::write, {0, free_frame}},
    {Call::frame_reclaim, 0, fixture::domain, right::manage, {0, free_frame, 0}},
    {Call::block_reclaim, 0, fixture::domain, right::manage, {0, free_frame}},
    {Call::cap_give, 0, fixture::domain, right::write, {0, fixture::memory, 9, 1}},
    {Call::cap_take, 0, fixture::domain, right::manage, {0, 9}},
    {Call::domain_add_table, 0, fixture::domain, right::write, {0, free_frame, 2}},
    {Call::table_map, 0, fixture::space, right::write, {0, 0, 3, free_frame}},
    {Call::table_unmap, 0, fixture::space, right::write, {0, 0, 3}},
    {Call::map_frame, 0, fixture::space, right::write, {0, 0, free_frame, 1}},
    {Call::map_block, 0, fixture::space, right::write, {0, 0, free_frame, 1}},
    {Call::map_shared, 0, fixture::space, right::write, {0, 0, fixture::memory, 1}},
    {Call::map_mmio, 0, fixture::space, right::write, {0, 0, fixture::mmio, 0, 1}},
    {Call::unmap, 0, fixture::space, right::write, {0, 0, 1}},
    {Call::thread_create, 2, fixture::domain, right::write, {free_frame, empty, 0, fixture::space}},
    {Call::thread_create, 3, fixture::space, right::write, {free_frame, empty, fixture::domain}},
    {Call::thread_start, 0, fixture::thread, right::write, {0, 0x1000}},
    {Call::thread_stop, 0, fixture::thread, right::write, {}},
    {Call::thread_resume, 0, fixture::thread, right::write, {}},
    {Call::thread_monitor, 0, fixture::thread, right::write, {0, fixture::notification, 1}},
    {Call::thread_monitor, 1, fixture::notification, right::write, {fixture::thread, 0, 1}},
    {Call::thread_info, 0, fixture::thread, right::read, {}},
    {Call::thread_bind, 0, fixture::thread, right::write, {0, fixture::notification}},
    {Call::thread_bind, 1, fixture::notification, right::read, {fixture::thread}},
    {Call::sc_create, 2, first_core, right::write, {free_frame, empty, 0, 9}},
    {Call::sc_bind, 0, fixture::context, right::write, {0, fixture::thread}},
    {Call::sc_bind, 1, fixture::thread, right::write, {fixture::context}},
    {Call::core_window, 0, first_core, right::write, {0, 0, 1'000'000, 0xffff}},
    {Call::core_schedule, 0, first_core, right::write, {}},
    {Call::call, 0, fixture::endpoint, right::write, {}},
    {Call::receive, 0, fixture::endpoint, right::read, {}},
    {Call::reply_receive, 0, fixture::endpoint, right::read, {}},
    {Call::signal, 0, fixture::notification, right::write, {0, 1}},
    {Call::wait, 0, fixture::notification, right::read, {}},
    {Call::irq_create, 2, irq_control, right::write, {free_frame, empty, 0, first_core, 11}},
    {Call::irq_create, 3, first_core, right::write, {free_frame, empty, irq_control, 0, 11}},
    {Call::msi_create, 2, irq_control, right::write, {free_frame, empty, 0, first_core, 11}},
    {Call::msi_create, 3, first_core, right::write, {free_frame, empty, irq_control, 0, 11}},
    {Call::irq_bind, 0, fixture::interrupt, right::write, {0, fixture::notification, 1}},
    {Call::irq_bind, 1, fixture::notification, right::write, {fixture::interrupt, 0, 1}},
    {Call::irq_ack, 0, fixture::interrupt, right::write, {}},
    {Call::ports_create, 2, fixture::ports, right::write, {free_frame, empty, 0, 0x70, 0x71}},
    {Call::port_in, 0, fixture::ports, right::read, {0, 0x71, 1}},
    {Call::port_out, 0, fixture::ports, right::write, {0, 0x80, 1}},
    {Call::mmio_create, 2, fixture::mmio, right::write, {free_frame, empty, 0, 0xfed00, 1}},
    {Call::vcpu_create, 2, fixture::guest_space, right::write, {free_frame, empty, 0, 2, 3, 4}},
    {Call::vcpu_run, 0, fixture::vcpu, right::write, {}},
    {Call::space_io_map, 0, fixture::guest_space, right::write, {0, free_frame}},
    {Call::space_msr_map, 0, fixture::guest_space, right::write, {0, free_frame}},
    {Call::guest_port, 0, fixture::guest_space, right::write, {0, fixture::ports, 0x70, 0}},
    {Call::guest_port, 1, fixture::ports, right::write, {fixture::guest_space, 0, 0x70, 0}},
    {Call::guest_msr, 0, fixture::guest_space, right::write, {0, 0xc000'0082, 0}},
    {Call::platform_control, 0, platform, right::write, {0, 2}},
    {Call::log, 0, platform, right::read, {0, 1}},
};

Error run(const SelectorCase& c, u32 selector) {
    u64 arguments[6];
    for (u32 i = 0; i < 6; ++i) {
        arguments[i] = c.others[i];
    }
    arguments[c.argument] = selector;
    return native::raw_call(static_cast<u64>(c.call), arguments);
}

void check(const SelectorCase& c, const char* what, u32 selector, Error expected) {
    rt::Text<80> text;
    text.format("{} argument {}: {}", abi::name_of(c.call), c.argument, what);
    expect(text.view(), run(c, selector), expected);
}

// A copy with every right the original has but the needed one. No copy without any right can be.
void check_weak(const SelectorCase& c) {
    const u8 rights = static_cast<u8>(user::cap_info(c.object).rights & ~c.needed);
    if (rights != 0 && user::cap_mint(c.object, fixture::weak, rights, 0).ok()) {
        check(c, "without the right", fixture::weak, Error::no_right);
        (void)user::cap_delete(fixture::weak);
    }
}

// Only the owner of the manage right can make a capability stale without ending the object.
void check_stale(const SelectorCase& c) {
    const auto info = user::cap_info(c.object);
    if ((info.rights & right::manage) != 0 &&
        user::cap_mint(c.object, stale_slot, static_cast<u8>(info.rights), 0).ok() &&
        user::cap_revoke(c.object).ok()) {
        check(c, "stale", stale_slot, Error::stale);
        (void)user::cap_delete(stale_slot);
    }
}

} // namespace

void test_selectors() {
    for (const SelectorCase& c : cases) {
        const u32 wrong = c.object == fixture::notification ? fixture::mmio : fixture::notification;
        check(c, "beyond the tables", abi::max_selector, Error::bad_selector);
        check(c, "no table", fixture::no_table, Error::no_table);
        check(c, "empty", fixture::empty, Error::no_capability);
        check(c, "wrong type", wrong, Error::wrong_type);
        check_weak(c);
        check_stale(c);
    }
    // Calls that take any type.
    expect("cap_info empty", user::cap_info(fixture::empty), Error::no_capability);
    expect("cap_info no table", user::cap_info(fixture::no_table), Error::no_table);
    expect("cap_mint empty", user::cap_mint(fixture::empty, fixture::scratch, 1, 0),
           Error::no_capability);
    expect("cap_move empty", user::cap_move(fixture::empty, fixture::scratch),
           Error::no_capability);
    expect("cap_move no table", user::cap_move(fixture::memory, fixture::no_table),
           Error::no_table);
    expect("cap_revoke empty", user::cap_revoke(fixture::empty), Error::no_capability);
    expect("cap_delete no table", user::cap_delete(fixture::no_table), Error::no_table);
    expect("map_mmio empty", user::map_mmio(fixture::space, 0, fixture::empty, 0, 1),
           Error::no_capability);
    expect("map_mmio wrong type", user::map_mmio(fixture::space, 0, fixture::vcpu, 0, 1),
           Error::wrong_type);
}

void test_decoders() {
    for (const abi::BadArgument& bad : abi::bad_arguments) {
        rt::Text<80> text;
        text.format("{} argument {} = {:x}", abi::name_of(bad.call), bad.argument,
                    bad.registers[bad.argument]);
        expect(text.view(), native::raw_call(static_cast<u64>(bad.call), bad.registers),
               bad.expected);
    }
    constexpr u64 none[6] = {};
    expect("call number beyond the last", native::raw_call(abi::call_count, none), Error::bad_call);
    expect("call number with a high bit", native::raw_call(u64{1} << 32, none), Error::bad_call);
    expect("call number all ones", native::raw_call(~u64{0}, none), Error::bad_call);
}

} // namespace horos::hypercall_test
