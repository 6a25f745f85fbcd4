#include "scenario.hpp"
#include "violation.hpp"
#include <horos/abi/gen/calls.hpp>

namespace horos::test {

Outcome Scenario::must(Call call, const Registers6& arguments, u32 core) {
    const Outcome out = s.call(core, call, arguments);
    if (!out.ok())
        throw Violation(std::string("scenario: ") + call_table[static_cast<u32>(call)].name +
                        " answered " + error_table[static_cast<u32>(out.error)].name);
    return out;
}

Frame Scenario::object(u32 selector) const {
    const Frame table = domains[s.root.domain].tables[selector / slots_per_table];
    return cap_tables[table].slots[selector % slots_per_table].object;
}

void Scenario::start(u32 thread) {
    must(Call::thread_start, {thread, 0x40'0000, 0x7000'0000, thread, 0});
}

void Scenario::make_domains() {
    for (const u32 selector : {sel::domain1, sel::domain2}) {
        const Frame f = take_frame();
        must(Call::domain_create, {f, take_frame(), selector});
    }
    must(Call::domain_add_table, {sel::domain, take_frame(), 1});
    for (u32 i = 0; i < 40; i += frames_per_give) {
        must(Call::frame_give, {sel::domain1, domain1_first + i, frames_per_give});
        must(Call::frame_give, {sel::domain2, domain2_first + i, frames_per_give});
    }
    must(Call::block_give, {sel::domain1, domain1_block});
}

void Scenario::make_spaces() {
    for (const u32 selector : {sel::space1, sel::space2, sel::guest, sel::guest2}) {
        const bool is_guest = selector == sel::guest || selector == sel::guest2;
        const Frame f = take_frame();
        must(Call::space_create, {f, take_frame(), selector, is_guest});
        for (u64 level = 3; level > 0; --level)
            must(Call::table_map, {selector, 0, level, take_frame()});
    }
}

void Scenario::make_thread(u32 thread, u32 sc, u32 domain, u32 space, u32 core, u32 position) {
    must(Call::thread_create, {take_frame(), thread, domain, space});
    must(Call::sc_create, {take_frame(), sc, sel::first_core + core, position, 0});
    must(Call::sc_bind, {sc, thread});
    must(Call::thread_monitor, {thread, sel::note3, 4});
}

void Scenario::make_vcpu(u32 vcpu, u32 space) {
    const Frame f = take_frame();
    const Frame control = take_frame();
    const Frame fpu = take_frame();
    must(Call::vcpu_create, {f, vcpu, space, control, fpu, take_frame()});
}

void Scenario::make_devices() {
    must(Call::irq_create, {take_frame(), sel::irq, sel::irq_control, sel::first_core, 4, 1});
    must(Call::irq_bind, {sel::irq, sel::note1, 8});
    const u32 core = s.root.first_core != 0 && machine.core_count > 1 ? 1 : 0;
    must(Call::msi_create, {take_frame(), sel::msi, sel::irq_control, sel::first_core + core, 3});
    must(Call::irq_bind, {sel::msi, sel::note2, 16});
    must(Call::ports_create, {take_frame(), sel::ports_part, sel::ports, 0x3f8, 0x3ff});
    must(Call::mmio_create, {take_frame(), sel::mmio_part, sel::mmio, 0xfe000, 16});
    must(Call::frame_share, {take_frame(), sel::shared_frame, right::all});
    must(Call::block_share, {root_block, sel::shared_block, right::all});
}

void Scenario::share() {
    for (const u32 domain : {sel::domain1, sel::domain2}) {
        for (u32 selector = 1; selector <= sel::last; ++selector) {
            if (s.call(0, Call::cap_info, {selector}).ok())
                must(Call::cap_give, {domain, selector, selector, right::all, 0});
        }
    }
}

void Scenario::build(const MachineOptions& options) {
    s.boot(options);
    make_domains();
    make_spaces();
    for (const u32 note : {sel::note1, sel::note2, sel::note3})
        must(Call::notification_create, {take_frame(), note});
    for (const u32 endpoint : {sel::endpoint0, sel::endpoint1})
        must(Call::endpoint_create, {take_frame(), endpoint});
    const u32 second = options.core_count > 1 ? 1 : 0;
    make_thread(sel::thread1, sel::sc1, sel::domain1, sel::space1, 0, 3);
    make_thread(sel::thread2, sel::sc2, sel::domain2, sel::space2, second, 4);
    make_thread(sel::thread3, sel::sc3, sel::domain, sel::space, second, 5);
    make_thread(sel::thread4, sel::sc4, sel::domain, sel::space, 0, 2);
    make_vcpu(sel::vcpu1, sel::guest);
    make_vcpu(sel::vcpu2, sel::guest);
    make_vcpu(sel::vcpu3, sel::guest2);
    must(Call::thread_bind, {sel::thread2, sel::note2});
    make_devices();
    share();
}

} // namespace horos::test
