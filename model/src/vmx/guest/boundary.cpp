// What is pending at an instruction boundary: the monitor trap, windows, virtual interrupts; and
// what an entry leaves pending.
#include "guest/machine.hpp"

namespace horos::model::vmx::guest {

namespace {

using namespace horos::vmx;

} // namespace

void Guest::in_shutdown() {
    if (activity == uint32_t(Activity::SHUTDOWN) && (rflags & x86::rflags::IF) != 0 &&
        deviates(Deviation::SHUTDOWN_CLEARS_IF)) {
        rflags &= ~x86::rflags::IF;
    }
}

// §27.1: an exit that an event causes directly saves the inactive state.
void Guest::wake_before_exit() {
    in_shutdown();
    if (activity != 0 && deviates(Deviation::EXIT_WAKES)) {
        activity = 0;
        interruptibility &=
            ~(interruptibility::BLOCKING_BY_STI | interruptibility::BLOCKING_BY_MOV_SS);
    }
}

void Guest::monitor_trap(bool injected) {
    if (!injected && deviates(Deviation::MONITOR_TRAP_IGNORED)) {
        return;
    }
    wake_before_exit();
    path.push_back("monitor trap");
    throw Exit(ExitReason::MONITOR_TRAP_FLAG);
}

// In falling priority (§25.2, §26.7).
void Guest::window_exits() {
    const bool sti = (interruptibility & interruptibility::BLOCKING_BY_STI) != 0;
    const bool mov_ss = (interruptibility & interruptibility::BLOCKING_BY_MOV_SS) != 0;
    const bool nmi = (interruptibility & interruptibility::BLOCKING_BY_NMI) != 0;
    if (proc(proc::NMI_WINDOW_EXITING) && !nmi && !mov_ss) {
        if (sti) {
            throw Open{"an NMI window under blocking by STI"};
        }
        wake_before_exit();
        path.push_back("NMI window");
        throw Exit(ExitReason::NMI_WINDOW);
    }
    if (proc(proc::INTERRUPT_WINDOW_EXITING) && (rflags & x86::rflags::IF) != 0 && !sti &&
        !mov_ss && !(activity != 0 && deviates(Deviation::HLT_MISSES_WINDOW))) {
        path.push_back("interrupt window");
        throw Exit(ExitReason::INTERRUPT_WINDOW);
    }
    if (virtual_interrupt_ && (rflags & x86::rflags::IF) != 0 && !sti && !mov_ss) {
        deliver_virtual_interrupt();
    }
}

// §26.4: what the MSR-load area sets; of it, the registers that are modelled.
void Guest::load_msrs() {
    for (uint64_t n = 0; n < s[F::ENTRY_MSR_LOAD_COUNT]; ++n) {
        const uint64_t at = s[F::ENTRY_MSR_LOAD_ADDRESS] + n * sizeof(MsrEntry);
        const uint64_t value = physical(at + 8);
        switch (uint32_t(physical(at))) {
        case x86::msr::SYSENTER_CS:
            sysenter_cs = value & 0xffffffff;
            break;
        case x86::msr::SYSENTER_ESP:
            sysenter_esp = value;
            break;
        case x86::msr::SYSENTER_EIP:
            sysenter_eip = value;
            break;
        default:
            throw Open{"an MSR of the load area"};
        }
    }
}

// To a handler; whatever its delivery meets.
void Guest::deliver_or_raise(const Event& event) {
    delivering = event;
    begin_delivery();
    try {
        deliver(event);
        delivering.reset();
    } catch (const Exception& e) {
        faulted_delivery_ = true;
        raise(e);
    }
}

void Guest::after_entry() {
    load_msrs();
    begin_virtual_interrupts(false);
    const auto info = uint32_t(s[F::ENTRY_INTERRUPTION_INFO]);
    const bool injects = (info & interruption::VALID) != 0;
    const uint64_t pending = s[F::GUEST_PENDING_DEBUG];
    const bool mov_ss = (interruptibility & interruptibility::BLOCKING_BY_MOV_SS) != 0;
    const bool debug = (pending & (pending_debug::ENABLED_BREAKPOINT | pending_debug::BS)) != 0;
    if (injects && (info & interruption::TYPE) >> interruption::TYPE_SHIFT ==
                       uint32_t(InterruptionType::OTHER)) {
        monitor_trap(true);
    }
    if (injects) {
        if (pending != 0) {
            throw Open{"an injected event with pending debug exceptions"};
        }
        Event event;
        event.type = InterruptionType(info >> interruption::TYPE_SHIFT & 7);
        event.vector = uint8_t(info & interruption::VECTOR);
        if ((info & interruption::ERROR_CODE_VALID) != 0) {
            event.error = uint32_t(s[F::ENTRY_EXCEPTION_ERROR_CODE]);
        }
        if (event.type == InterruptionType::SOFTWARE_INTERRUPT && v86()) {
            throw Open{"an injected software interrupt in virtual-8086 mode"};
        }
        event.length = has_length(event.type) ? unsigned(s[F::ENTRY_INSTRUCTION_LENGTH]) : 0;
        event.injected = true;
        if (event.type == InterruptionType::NMI) {
            interruptibility |= interruptibility::BLOCKING_BY_NMI;
        }
        activity = 0;
        deliver_or_raise(event);
        if (proc(proc::MONITOR_TRAP_FLAG)) {
            monitor_trap();
        }
    }
    begin_virtual_interrupts(true);
    // §26.7.7: with virtualized APIC accesses the threshold is not an entry check.
    const bool tpr_exit = proc(proc::USE_TPR_SHADOW) && proc2(proc2::VIRTUALIZE_APIC_ACCESSES) &&
                          !proc2(proc2::VIRTUAL_INTERRUPT_DELIVERY) &&
                          (s[F::TPR_THRESHOLD] & 0xf) > (s[Extra::VTPR] >> 4 & 0xf);
    const bool timer = pin(pin::PREEMPTION_TIMER) && s[F::PREEMPTION_TIMER] == 0;
    const bool overlooked =
        tpr_exit && faulted_delivery_ && deviates(Deviation::ENTRY_PPR_AFTER_EVENT);
    if (tpr_exit && (debug || timer)) {
        throw Open{"a TPR below the threshold with other pending events"};
    }
    if (tpr_exit && !overlooked) {
        path.push_back("TPR below threshold");
        throw Exit(ExitReason::TPR_BELOW_THRESHOLD);
    }
    const bool lost = debug && !injects &&
                      (pending & (pending_debug::B0_B3 | pending_debug::BS)) == 0 &&
                      deviates(Deviation::PENDING_BREAKPOINT_LOST);
    if (debug && !injects && !lost) {
        if (mov_ss) {
            throw Open{"pending debug exceptions under blocking by MOV SS"};
        }
        if (activity != 0) {
            throw Open{"pending debug exceptions of a guest that is not active"};
        }
        Exception trap{DEBUG_VECTOR, std::nullopt,
                       pending & (pending_debug::B0_B3 | pending_debug::BS)};
        if ((pending & pending_debug::ENABLED_BREAKPOINT) == 0) {
            // Vol. 3B §17.2.3: breakpoints that are not enabled may be reported or not.
            trap.qualification_known = ~uint64_t{pending_debug::B0_B3};
        }
        raise(trap);
    }
    if (timer) {
        const bool nmi = (interruptibility & interruptibility::BLOCKING_BY_NMI) != 0;
        if (proc(proc::NMI_WINDOW_EXITING) && !nmi) {
            wake_before_exit();
        }
        path.push_back("preemption timer");
        throw Exit(ExitReason::PREEMPTION_TIMER);
    }
    if (activity != uint32_t(Activity::SHUTDOWN)) {
        window_exits();
    } else if (proc(proc::NMI_WINDOW_EXITING)) {
        window_exits();
    }
    if (activity != 0) {
        if (!pin(pin::PREEMPTION_TIMER)) {
            throw Open{"a guest that waits for ever"};
        }
        in_shutdown();
        path.push_back("waits for the preemption timer");
        throw Exit(ExitReason::PREEMPTION_TIMER);
    }
}

void Guest::between_instructions() {
    if (proc(proc::MONITOR_TRAP_FLAG)) {
        monitor_trap();
    }
    window_exits();
    if (activity != 0) {
        wait();
    }
}

void Guest::wait() {
    if (!pin(pin::PREEMPTION_TIMER)) {
        throw Open{"a guest that waits for ever"};
    }
    path.push_back("HLT: waits for the preemption timer");
    throw Exit(ExitReason::PREEMPTION_TIMER);
}

} // namespace horos::model::vmx::guest
