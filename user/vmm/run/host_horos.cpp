// The VMM's needs, met by Horos: hypercalls and the ring-3 runtime.
#include <horos/rt/calls.hpp>
#include <horos/rt/console_client.hpp>
#include <horos/rt/report.hpp>
#include <horos/rt/start.hpp>
#include <horos/rt/text.hpp>
#include <horos/rt/time.hpp>

#include "run/host.hpp"

namespace horos::vmm::host {

Ticks now() { return rt::now(); }

RunResult run(u32 index) {
    const auto result = user::vcpu_run(abi::start_selector::vcpu(index));
    return {.ok = result.ok(),
            .reason = static_cast<abi::ExitReason>(result.exit_reason),
            .detail = result.ok() ? 0 : result.exit_reason};
}

u64 wait(Ticks deadline) { return rt::wait_events(deadline); }

void wake(u32 vcpu) {
    const u32 thread = abi::main_thread(vcpu);
    // It can only fail for a missing capability, which start-up would have shown.
    (void)user::signal(abi::start_selector::notification(thread), wake_own);
}

void show_apic_page(bool shown) {
    constexpr u32 space = abi::start_selector::guest_space;
    const bool done = shown ? user::map_frame(space, abi::apic_address, rt::start_page().apic_frame,
                                              abi::right::read | abi::right::write)
                                  .ok()
                            : user::unmap(space, abi::apic_address, 1).ok();
    if (!done)
        stop({.text = "the page of the local APIC cannot be mapped"});
}

u32 console_write(const u8* bytes, u32 count) { return rt::console().write(bytes, count); }
u32 console_read(u8* bytes, u32 count) { return rt::console().read(bytes, count); }

void heartbeat() { rt::heartbeat(); }

void relax() { asm volatile("pause"); }

void stop(const Report& report) {
    rt::Text<192> text;
    text.format("{}", report.text);
    for (u32 i = 0; i < report.byte_count && i < 15; ++i)
        text.format(i == 0 ? ", bytes {:x}" : " {:x}", report.bytes[i]);
    rt::report_and_stop({.kind = report.kind,
                         .vcpu = report.vcpu,
                         .rip = report.rip,
                         .info = {report.info[0], report.info[1], report.info[2], report.info[3]},
                         .text = text.view()});
}

} // namespace horos::vmm::host
