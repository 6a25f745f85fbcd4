// What can happen between two guest instructions: SMI, INIT, NMI, interrupts, virtual interrupts
// (APM vol. 2 rev. 3.42 §15.13, §15.21, §15.22, §15.33.2).
#include "guest/cpu.hpp"

namespace horos::model::svm::guest {

namespace {
namespace ic = horos::svm::int_ctl;
using horos::svm::Misc1;

bool vgif_enabled(const Cpu& cpu) {
    return cpu.has(x86::cpuid::SVM_EDX_VGIF) && (cpu.control.int_ctl & ic::V_GIF_ENABLE) != 0;
}
bool vnmi_enabled(const Cpu& cpu) {
    return cpu.has(x86::cpuid::SVM_EDX_VNMI) && (cpu.control.int_ctl & ic::V_NMI_ENABLE) != 0;
}

void smi_and_init(Cpu& cpu) {
    const PendingEvents& pending = cpu.machine.pending;
    if (pending.smi && pending.init) {
        throw Open{"SMI and INIT together: their order is not said"};
    }
    if (pending.smi) {
        const bool locked = (cpu.machine.host.hwcr & 1) != 0; // SMMLOCK: the intercept is ignored
        if (!cpu.intercepted(Misc1::SMI) || locked) {
            throw Open{"the SMI handler is outside the model"};
        }
        Exit exit{ExitCode::SMI};
        exit.info1 = {1, 1}; // asserted externally (§15.13.3)
        throw exit;
    }
    if (pending.init) {
        if (!cpu.intercepted(Misc1::INIT)) {
            throw Open{"INIT that is not intercepted resets the processor"};
        }
        throw Exit{ExitCode::INIT};
    }
}

unsigned virtual_priority(const Cpu& cpu) {
    return (cpu.int_ctl & ic::V_INTR_PRIO) >> ic::V_INTR_PRIO_SHIFT;
}

} // namespace

bool Cpu::physical_interrupts_enabled() const {
    const bool masking = (control.int_ctl & ic::V_INTR_MASKING) != 0;
    const bool differs = ((machine.host.rflags ^ rflags) & x86::rflags::IF) != 0;
    const bool hosts = masking && !(differs && deviates(Deviation::HOST_IF_IGNORED));
    const uint64_t flags = hosts ? machine.host.rflags : rflags;
    return (flags & x86::rflags::IF) != 0 && machine.pending.intr_above_tpr;
}

unsigned Cpu::virtual_tpr() const {
    const unsigned byte = int_ctl & ic::V_TPR;
    const unsigned tpr = int_ctl & ic::V_TPR_PRIO;
    return byte != tpr && deviates(Deviation::VTPR_BYTE) ? byte : tpr;
}

bool Cpu::virtual_interrupt_above_tpr() const {
    return (int_ctl & ic::V_IGN_TPR) != 0 || virtual_priority(*this) > virtual_tpr();
}

// Deviation::VIRQ_MASKED: the mask of events follows changes of IF, and those alone.
void Cpu::note_interrupt_flag() {
    const bool now = (rflags & x86::rflags::IF) != 0;
    if (now != if_before) {
        virq_unmasked = now && virtual_interrupt_above_tpr();
    }
    if_before = now;
}

bool Cpu::virtual_gif() const { return !vgif_enabled(*this) || (int_ctl & ic::V_GIF) != 0; }

void Cpu::take_virtual_interrupt() {
    if (intercepted(Misc1::VINTR)) {
        feature(801);
        throw Exit{ExitCode::VINTR};
    }
    feature(802);
    int_ctl &= ~ic::V_IRQ; // before the IDT is accessed
    virq_in_delivery = true;
    Event event;
    event.type = EventType::INTR;
    event.vector = control.v_intr_vector;
    event.return_rip = rip;
    result.event_delivered = true;
    try {
        deliver(event);
        virq_in_delivery = false;
    } catch (const Exception& secondary) {
        virq_in_delivery = false;
        if (deviates(Deviation::VIRQ_CLEARED_LATE)) {
            int_ctl |= ic::V_IRQ;
        }
        raise(secondary);
    }
}

void Cpu::boundary() {
    smi_and_init(*this);
    // Each round takes at most one event; a handler's first instruction may be preempted again.
    for (unsigned round = 0; round < 4; ++round) {
        note_interrupt_flag();
        if (nmi_pending && !nmi_blocked) {
            // "May be blocked for one instruction following an STI" (§15.13.2).
            if (!shadow || !choices.flip()) {
                if (intercepted(Misc1::NMI)) {
                    feature(810);
                    throw Exit{ExitCode::NMI};
                }
                nmi_pending = false;
                nmi_blocked = true;
                Event event;
                event.type = EventType::NMI;
                event.vector = 2;
                event.return_rip = rip;
                if (machine.deviations.test(Deviation::NMI_RIP_UNCOMMITTED)) {
                    uncommitted_rip = rip;
                }
                try {
                    deliver(event);
                } catch (const Exception& secondary) {
                    raise(secondary);
                }
                continue;
            }
        }
        if (intr_pending && physical_interrupts_enabled()) {
            const bool masking = (control.int_ctl & ic::V_INTR_MASKING) != 0;
            // Whether the guest's shadow holds back an interrupt that its IF does not control.
            const bool blocked = shadow && (!masking || choices.flip());
            if (!blocked) {
                if (intercepted(Misc1::INTR)) {
                    feature(811);
                    throw Exit{ExitCode::INTR};
                }
                Event event;
                event.type = EventType::INTR;
                event.vector = *intr_pending;
                event.return_rip = rip;
                intr_pending.reset();
                try {
                    deliver(event);
                } catch (const Exception& secondary) {
                    raise(secondary);
                }
                continue;
            }
        }
        if (vnmi_enabled(*this) && (int_ctl & ic::V_NMI) != 0 && (int_ctl & ic::V_NMI_MASK) == 0 &&
            virtual_gif() && !shadow) {
            throw Open{"virtual NMI delivery is not modelled"};
        }
        const bool above = virtual_interrupt_above_tpr();
        const bool wants =
            (int_ctl & ic::V_IRQ) != 0 && (above || virtual_priority(*this) == virtual_tpr());
        if (wants && (rflags & x86::rflags::IF) != 0 && virtual_gif() && !shadow &&
            (above || deviates(Deviation::VIRQ_AT_EQUAL_PRIORITY)) &&
            (virq_unmasked || !deviates(Deviation::VIRQ_MASKED))) {
            take_virtual_interrupt();
            continue;
        }
        return;
    }
}

} // namespace horos::model::svm::guest
