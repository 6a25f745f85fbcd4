// CPUID to XSETBV, software events, and the few plain instructions around them (§25.1).
#include "guest/machine.hpp"

namespace horos::model::vmx::guest {

namespace {

using namespace horos::vmx;

void need_cpl0(const Guest& g) {
    if (g.cpl() != 0) {
        gp0();
    }
}
bool cpuid1_ecx(const Guest& g, unsigned bit) { return (g.profile.leaf(1).ecx >> bit & 1) != 0; }

void hlt(Guest& g, const Insn& insn) {
    need_cpl0(g);
    if (g.proc(proc::HLT_EXITING)) {
        g.exit_instruction(ExitReason::HLT, insn);
    }
    g.activity = uint32_t(Activity::HLT);
}

void invlpg(Guest& g, const Insn& insn) {
    need_cpl0(g);
    if (g.proc(proc::INVLPG_EXITING)) {
        const uint64_t linear = g.exit_linear(insn.operands[0]);
        g.exit_instruction(ExitReason::INVLPG, insn, linear);
    }
    g.drop({g.exit_linear(insn.operands[0]), g.pcid(), true});
}

void rdtsc(Guest& g, const Insn& insn, bool with_aux) {
    if (with_aux && !g.proc2(proc2::ENABLE_RDTSCP)) {
        ud();
    }
    if ((g.cr4 & x86::cr4::TSD) != 0 && g.cpl() > 0) {
        gp0();
    }
    if (g.proc(proc::RDTSC_EXITING)) {
        g.exit_instruction(with_aux ? ExitReason::RDTSCP : ExitReason::RDTSC, insn);
    }
    g.set_reg(ZYDIS_REGISTER_EAX, 0, 0);
    g.set_reg(ZYDIS_REGISTER_EDX, 0, 0);
    if (with_aux) {
        g.set_reg(ZYDIS_REGISTER_ECX, 0, 0);
    }
}

void rdpmc(Guest& g, const Insn& insn) {
    if (g.cpl() > 0 && (g.cr4 & x86::cr4::PCE) == 0) {
        gp0();
    }
    if (g.proc(proc::RDPMC_EXITING)) {
        g.exit_instruction(ExitReason::RDPMC, insn);
    }
    throw Open{"performance counters"};
}

void monitor(Guest& g, const Insn& insn) {
    if (!cpuid1_ecx(g, 3)) {
        ud();
    }
    if (g.cpl() != 0) { // with the control, the exit stands after this check too
        ud();
    }
    if (g.proc(proc::MONITOR_EXITING)) {
        g.exit_instruction(ExitReason::MONITOR, insn);
    }
    if (uint32_t(g.gpr_value(1)) != 0) { // no extensions are defined
        gp0();
    }
    const ZydisDecodedOperand* memory = &insn.operands[0];
    const uint64_t mask = insn.zydis.address_width == 64   ? ~0ull
                          : insn.zydis.address_width == 32 ? 0xffffffff
                                                           : 0xffff;
    const Seg segment = memory->type == ZYDIS_OPERAND_TYPE_MEMORY ? g.segment(*memory) : Seg::DS;
    (void)g.read(g.linear_of(segment, g.gpr_value(0) & mask, 1, Kind::READ), 1);
    g.monitoring = true;
}
// Vol. 2B MWAIT: without an armed monitor it does nothing; with one it waits, for as long as it
// likes. What ends the wait here is the preemption timer; the processor is in the active state
// (§24.4.2).
void mwait(Guest& g, const Insn& insn) {
    if (!cpuid1_ecx(g, 3) || g.cpl() != 0) {
        ud();
    }
    if (g.proc(proc::MWAIT_EXITING)) {
        Exit exit(ExitReason::MWAIT);
        exit.qualification = {0, ~1ull}; // bit 0: whether the monitor was armed
        exit.length = insn.length;
        g.path.push_back("mwait: exit");
        throw exit;
    }
    const bool breaks = (g.profile.leaf(5).ecx & 3) == 3; // ECX bit 0 is known
    if ((uint32_t(g.gpr_value(1)) & ~uint32_t{breaks}) != 0) {
        gp0();
    }
    if (g.monitoring) {
        throw Open{"how long an MWAIT waits"};
    }
}

void pause(Guest& g, const Insn& insn) {
    if (g.proc(proc::PAUSE_EXITING)) {
        g.exit_instruction(ExitReason::PAUSE, insn);
    }
    if (g.proc2(proc2::PAUSE_LOOP_EXITING) && g.cpl() == 0) {
        throw Open{"PAUSE-loop exiting"};
    }
}

void xsetbv(Guest& g, const Insn& insn) {
    if (!cpuid1_ecx(g, 26) || (g.cr4 & x86::cr4::OSXSAVE) == 0) {
        ud();
    }
    if (g.cpl() != 0 && !g.deviates(Deviation::XSETBV_EXITS_FIRST)) {
        gp0();
    }
    g.exit_instruction(ExitReason::XSETBV, insn);
}

void wbinvd(Guest& g, const Insn& insn) {
    need_cpl0(g);
    if (g.proc2(proc2::WBINVD_EXITING)) {
        g.exit_instruction(ExitReason::WBINVD, insn);
    }
}

// §24.6.20: without the control #UD; with it the bitmap decides, of components that IA32_XSS has.
// It is 0 as long as the guest does not write it.
void xsaves(Guest& g, const Insn& insn, bool store) {
    const bool enabled = g.proc2(proc2::ENABLE_XSAVES);
    const bool ts = (g.cr0 & x86::cr0::TS) != 0;
    // A part that has no XSAVES raises #UD whatever else holds.
    const bool exists = g.profile.proc2.can(proc2::ENABLE_XSAVES);
    if (exists && (g.cr4 & x86::cr4::OSXSAVE) != 0 && !enabled && (ts || g.cpl() != 0) &&
        g.deviates(Deviation::XSAVES_ORDER)) {
        throw ts ? Exception{7, std::nullopt} : Exception{13, 0u};
    }
    if ((g.cr4 & x86::cr4::OSXSAVE) == 0 || !enabled) {
        ud();
    }
    if (ts) {
        throw Exception{7, std::nullopt};
    }
    if (g.cpl() != 0) {
        gp0();
    }
    constexpr unsigned HEADER = 512, COMPACTED = HEADER + 8, BYTES = HEADER + 64;
    const ZydisDecodedOperand& memory = insn.operands[0];
    const uint64_t at = g.operand_linear(memory, BYTES, store ? Kind::WRITE : Kind::READ);
    if (at % 64 != 0) {
        gp0();
    }
    if (store) {
        throw Open{"what XSAVES stores"};
    }
    bool compacted = true;
    try {
        compacted = g.read(at + COMPACTED, 8) >> 63 != 0;
    } catch (const Exit&) {
        throw Open{"where XRSTORS touches its area first"};
    } catch (const Exception&) {
        throw Open{"where XRSTORS touches its area first"};
    }
    if (!compacted) {
        gp0();
    }
    throw Open{"what XRSTORS loads"};
}

[[noreturn]] void software_exception(Guest& g, uint8_t vector, InterruptionType type,
                                     unsigned length) {
    Exception e;
    if (vector == 1 && (g.rflags & x86::rflags::TF) != 0 &&
        g.deviates(Deviation::INT1_SINGLE_STEP)) {
        e.qualification = debug_exit::BS;
    }
    e.vector = vector;
    e.type = type;
    e.length = length;
    throw e;
}

// In virtual-8086 mode below IOPL 3 it faults, unless CR4.VME has the TSS say where it goes
// (vol. 3A §20.3.3).
void software_interrupt(Guest& g, const Insn& insn) {
    if (g.v86() && (g.cr4 & x86::cr4::VME) != 0) {
        throw Open{"INT n in virtual-8086 mode with CR4.VME"};
    }
    Event event;
    event.type = InterruptionType::SOFTWARE_INTERRUPT;
    event.vector = uint8_t(insn.operands[0].imm.value.u);
    event.length = insn.length;
    if (g.v86() && g.iopl() < 3) {
        if (g.choices.flip()) { // §27.2.4 does not say whether this is part of the delivery
            g.delivering = event;
        }
        gp0();
    }
    g.delivering = event;
    g.deliver(event);
    g.delivering.reset();
    g.jumped = true;
}

void change_if(Guest& g, bool set) {
    if (g.protected_mode() && g.cpl() > g.iopl()) {
        if ((g.cr4 & (x86::cr4::PVI | x86::cr4::VME)) != 0) {
            throw Open{"virtual interrupt flags"};
        }
        gp0();
    }
    if (set && (g.rflags & x86::rflags::IF) == 0) {
        g.sti_shadow_next = true;
    }
    g.rflags = set ? g.rflags | x86::rflags::IF : g.rflags & ~x86::rflags::IF;
}

void mov(Guest& g, const Insn& insn) {
    const ZydisDecodedOperand& to = insn.operands[0];
    const ZydisDecodedOperand& from = insn.operands[1];
    const unsigned bytes = to.size / 8;
    if (to.type == ZYDIS_OPERAND_TYPE_REGISTER &&
        ZydisRegisterGetClass(to.reg.value) == ZYDIS_REGCLASS_SEGMENT) {
        // A null SS in 64-bit mode is all that is modelled: it blocks events for an instruction.
        const uint64_t selector = g.operand_value(from, 2);
        if (to.reg.value != ZYDIS_REGISTER_SS || !g.code64() || g.cpl() != 0 || selector != 0) {
            throw Open{"the load of a segment register"};
        }
        g.s[F::GUEST_SS_SELECTOR] = 0;
        g.s[F::GUEST_SS_RIGHTS] = rights::UNUSABLE;
        g.mov_ss_next = true;
        return;
    }
    if (from.type == ZYDIS_OPERAND_TYPE_REGISTER &&
        ZydisRegisterGetClass(from.reg.value) == ZYDIS_REGCLASS_SEGMENT) {
        throw Open{"the store of a segment register"};
    }
    const uint64_t value = g.operand_value(from, bytes);
    if (to.type == ZYDIS_OPERAND_TYPE_MEMORY) {
        g.write(g.operand_linear(to, bytes, Kind::WRITE), value, bytes);
    } else {
        g.set_reg(to.reg.value, value);
    }
}

} // namespace

bool Guest::execute_system(const Insn& insn) {
    switch (insn.zydis.mnemonic) {
    case ZYDIS_MNEMONIC_CPUID:
        exit_instruction(ExitReason::CPUID, insn);
    case ZYDIS_MNEMONIC_INVD:
        need_cpl0(*this);
        exit_instruction(ExitReason::INVD, insn);
    case ZYDIS_MNEMONIC_GETSEC:
        if ((cr4 & x86::cr4::SMXE) == 0) {
            ud();
        }
        exit_instruction(ExitReason::GETSEC, insn);
    case ZYDIS_MNEMONIC_HLT:
        hlt(*this, insn);
        return true;
    case ZYDIS_MNEMONIC_INVLPG:
        invlpg(*this, insn);
        return true;
    case ZYDIS_MNEMONIC_RDTSC:
        rdtsc(*this, insn, false);
        return true;
    case ZYDIS_MNEMONIC_RDTSCP:
        rdtsc(*this, insn, true);
        return true;
    case ZYDIS_MNEMONIC_RDPMC:
        rdpmc(*this, insn);
        return true;
    case ZYDIS_MNEMONIC_MONITOR:
        monitor(*this, insn);
        return true;
    case ZYDIS_MNEMONIC_MWAIT:
        mwait(*this, insn);
        return true;
    case ZYDIS_MNEMONIC_PAUSE:
        pause(*this, insn);
        return true;
    case ZYDIS_MNEMONIC_XSETBV:
        xsetbv(*this, insn);
        return true;
    case ZYDIS_MNEMONIC_WBINVD:
        wbinvd(*this, insn);
        return true;
    case ZYDIS_MNEMONIC_XSAVES:
    case ZYDIS_MNEMONIC_XSAVES64:
        xsaves(*this, insn, true);
        return true;
    case ZYDIS_MNEMONIC_XRSTORS:
    case ZYDIS_MNEMONIC_XRSTORS64:
        xsaves(*this, insn, false);
        return true;
    case ZYDIS_MNEMONIC_UD2:
    case ZYDIS_MNEMONIC_RSM: // outside SMM
        ud();
    case ZYDIS_MNEMONIC_INT3:
        software_exception(*this, 3, InterruptionType::SOFTWARE_EXCEPTION, insn.length);
    case ZYDIS_MNEMONIC_INT1:
        software_exception(*this, 1, InterruptionType::PRIVILEGED_SOFTWARE_EXCEPTION, insn.length);
    case ZYDIS_MNEMONIC_INT:
        software_interrupt(*this, insn);
        return true;
    default:
        return false;
    }
}

bool Guest::execute_plain(const Insn& insn) {
    switch (insn.zydis.mnemonic) {
    case ZYDIS_MNEMONIC_NOP:
        return true;
    case ZYDIS_MNEMONIC_MOV:
        mov(*this, insn);
        return true;
    case ZYDIS_MNEMONIC_STI:
        change_if(*this, true);
        return true;
    case ZYDIS_MNEMONIC_CLI:
        change_if(*this, false);
        return true;
    case ZYDIS_MNEMONIC_DIV: { // by zero only
        const uint64_t divisor = operand_value(insn.operands[0], insn.operands[0].size / 8);
        if (divisor != 0) {
            throw Open{"a division"};
        }
        throw Exception{0, std::nullopt};
    }
    default:
        return false;
    }
}

} // namespace horos::model::vmx::guest
