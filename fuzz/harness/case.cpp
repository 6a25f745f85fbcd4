// One case with all that it may ask for.
#include "disarm.hpp"
#include "harness.hpp"

extern "C" {
void run_guest(horos::fuzz::wire::RingSlot*);
void run_guest_user(horos::fuzz::wire::RingSlot*);
bool try_wrmsr(uint32_t msr, uint64_t value);
extern const char run_vmrun[], user_vmrun[];
}

namespace horos::harness {

void install(wire::RingSlot& c) {
    for (uint32_t left = c.install; left; left &= left - 1) {
        const wire::Window& w = mailbox().window[__builtin_ctz(left)];
        copy_qwords(at<void>(w.address), c.window + w.offset, w.qwords);
    }
    for (uint32_t i = 0; i < c.patches; ++i) {
        uint64_t& word = *at<uint64_t>(c.patch[i].address);
        const uint64_t before = word;
        word = c.patch[i].value;
        c.patch[i].value = before;
    }
    if (c.flags & wire::FRESH_CODE)
        copy_qwords(at<void>(c.codeAddress), c.code, c.codeQwords);
    if (c.flags & wire::DEBUG_REGS)
        for (unsigned i = 0; i < 4; ++i)
            write_dr(i, c.dr[i]);
}

namespace {

constexpr unsigned SAVE_DR7 = 0x160 / 8;                // in the VMCB's save area
constexpr unsigned EVENT_INJ = 0xa8, CLEAN_BITS = 0xc0; // bytes in its control area

void self_interrupt(uint32_t low) {
    apic_write(0x310, apic_read(0x20) & 0xff000000); // to this processor
    apic_write(0x300, low);
    while (apic_read(0x300) & 0x1000) {
    }
}

// Host state that the case asks for. False: an MSR write was refused (recorded as #GP).
bool prepare_host(const wire::RingSlot& c) {
    if (c.flags & wire::SET_HSAVE && !try_wrmsr(MSR_HSAVE, c.hsave))
        return false;
    if (c.flags & wire::NO_SVME)
        wrmsr(MSR_EFER, mailbox().baseline[wire::H_EFER] & ~EFER_SVME);
    if (c.flags & wire::PEND_NMI)
        self_interrupt(0x4400);
    if (c.flags & wire::PEND_INTR)
        self_interrupt(0x4000 | wire::INTR_VECTOR);
    if (c.flags & wire::HOST_IF)
        asm volatile("sti; nop");
    return true;
}

void collect(wire::RingSlot& c) {
    read_host(c.host);
    c.hostDiffers = 1;
    mend_host(c.host);
    for (uint32_t left = c.windows; left; left &= left - 1) {
        const wire::Window& w = mailbox().window[__builtin_ctz(left)];
        copy_qwords(c.window + w.offset, at<void>(w.address), w.qwords);
        copy_qwords(at<void>(w.address), mailbox().windowTemplate + w.offset, w.qwords);
    }
    for (uint32_t i = c.patches; i-- > 0;)
        *at<uint64_t>(c.patch[i].address) = c.patch[i].value;
    if (c.flags & wire::DEBUG_REGS) {
        c.dr[0] = read_dr0();
        c.dr[1] = read_dr1();
        c.dr[2] = read_dr2();
        c.dr[3] = read_dr3();
        for (unsigned i = 0; i < 4; ++i)
            write_dr(i, 0);
    }
}

// After the case: what came in although GIF was 0, and what was still pending.
void settle_events(wire::RingSlot& c, bool injectedNmi) {
    wire::Mailbox& box = mailbox();
    c.early = box.nmis + box.intrs;
    if (injectedNmi || c.flags & wire::PEND_NMI)
        iret_to_next(); // NMIs may still be masked for one that the guest got and no IRET ended
    if (c.flags & wire::PEND_INTR)
        apic_write(0xb0, 0); // a guest that got the interrupt did not tell the APIC of its end
    if (c.flags & (wire::PEND_NMI | wire::PEND_INTR)) {
        stgi();
        asm volatile("sti; nop; nop; nop; cli");
        clgi();
    }
    c.nmis = box.nmis;
    c.intrs = box.intrs;
}

struct Kept {
    uint64_t control[wire::CONTROL_QWORDS];
    uint64_t save[wire::SAVE_QWORDS];
    uint64_t gpr[16];
};
Kept kept;

void apply(wire::RingSlot& c, const wire::Edit& edit) {
    if (edit.place < wire::SLOT_SIZE)
        at<uint64_t>(reinterpret_cast<uint64_t>(&c) + edit.place)[0] = edit.value;
    else
        *at<uint64_t>(edit.place) = edit.value;
}

// The VMRUN before the case's own (wire::Edit). All that it changed is put back, but for what the
// processor keeps to itself.
void run_earlier(wire::RingSlot& c) {
    copy_qwords(kept.control, c.control, wire::CONTROL_QWORDS);
    copy_qwords(kept.save, c.save, wire::SAVE_QWORDS);
    copy_qwords(kept.gpr, c.gpr, 16);
    for (uint32_t i = 0; i < c.edits; ++i)
        apply(c, c.edit[i]);
    using disarming::TLB_CONTROL;
    *(reinterpret_cast<uint8_t*>(&c) + TLB_CONTROL) = 1; // flush all
    c.control[EVENT_INJ / 8] = 0;
    c.control[CLEAN_BITS / 8] &= ~0xffffffffull;
    if (c.flags & wire::VMLOAD)
        vmload(reinterpret_cast<uint64_t>(&c));
    run_guest(&c);
    if (c.flags & wire::VMLOAD) {
        vmload(wire::BASE_STATE_PA);
        wrmsr(MSR_TSC_AUX, 0);
    }
    read_host(c.host);
    mend_host(c.host);
    if (c.flags & wire::DEBUG_REGS && c.save[SAVE_DR7] & DR7_ENABLES)
        disarm_breakpoints(c.save[SAVE_DR7], mailbox().baseline);
    copy_qwords(c.control, kept.control, wire::CONTROL_QWORDS);
    copy_qwords(c.save, kept.save, wire::SAVE_QWORDS);
    copy_qwords(c.gpr, kept.gpr, 16);
    for (uint32_t left = c.windows; left; left &= left - 1) {
        const wire::Window& w = mailbox().window[__builtin_ctz(left)];
        copy_qwords(at<void>(w.address), c.window + w.offset, w.qwords);
    }
    if (c.flags & wire::REWRITE_CODE)
        copy_qwords(at<void>(c.codeAddress), c.code, c.codeQwords);
    if (c.flags & wire::DEBUG_REGS)
        for (unsigned i = 0; i < 4; ++i)
            write_dr(i, c.dr[i]);
}

} // namespace

void run_case(wire::RingSlot& c) {
    wire::Mailbox& box = mailbox();
    const uint64_t vmcb = reinterpret_cast<uint64_t>(&c);
    constexpr uint64_t INJECTS_NMI = 2;
    const bool injectsNmi = (c.control[EVENT_INJ / 8] >> 8 & 7) == INJECTS_NMI;
    install(c);
    box.vector = ~0ull;
    box.nmis = 0;
    box.intrs = 0;
    if (c.flags & wire::TWICE)
        run_earlier(c);
    if (c.flags & wire::VMLOAD)
        vmload(vmcb);
    const bool prepared = prepare_host(c);
    if (box.vector != ~0ull) {
        // The earlier VMRUN did not run: that is the result.
    } else if (!prepared) {
        box.vector = 13;
        box.faultRip = 0;
    } else if (c.flags & wire::USER_MODE) {
        vmload(wire::HOST_STATE_PA); // the ring 0 stack comes from our own TSS
        run_guest_user(&c);
        vmload(wire::BASE_STATE_PA);
    } else {
        run_guest(&c);
    }
    if (c.flags & wire::HOST_IF)
        asm volatile("cli");
    if (c.flags & wire::NO_SVME)
        wrmsr(MSR_EFER, box.baseline[wire::H_EFER]);
    if (c.flags & wire::VMLOAD) {
        vmsave(vmcb);
        vmload(wire::BASE_STATE_PA);
        wrmsr(MSR_TSC_AUX, 0); // the one such register that VMLOAD leaves alone
    }
    collect(c);
    c.status = box.vector == ~0ull ? wire::Status::Exit : wire::Status::Exception;
    c.vector = 0;
    c.error = c.rip = 0;
    if (c.status == wire::Status::Exception) {
        c.vector = uint32_t(box.vector);
        c.error = box.error;
        // relative to the instruction, so that it does not change with each build of the harness
        uint64_t vmrun =
            reinterpret_cast<uint64_t>(c.flags & wire::USER_MODE ? user_vmrun : run_vmrun);
        c.rip = prepared ? box.faultRip - vmrun : 0;
        box.vector = ~0ull;
    }
    settle_events(c, injectsNmi);
    if (c.flags & wire::DEBUG_REGS && c.save[SAVE_DR7] & DR7_ENABLES)
        disarm_breakpoints(c.save[SAVE_DR7], box.baseline);
    asm volatile("" ::: "memory");
    c.done = c.id;
}

} // namespace horos::harness
