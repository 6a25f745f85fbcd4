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
    throw Open{"MONITOR"};
}
void mwait(Guest& g, const Insn& insn) {
    if (!cpuid1_ecx(g, 3) || g.cpl() != 0) {
        ud();
    }
    if (!g.proc(proc::MWAIT_EXITING)) {
        throw Open{"MWAIT"};
    }
    Exit exit(ExitReason::MWAIT);
    exit.qualification = {0, ~1ull}; // bit 0: whether the monitor was armed
    exit.length = insn.length;
    g.path.push_back("mwait: exit");
    throw exit;
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

// §24.6.20: without the control #UD; with it the bitmap decides.
void xsaves(Guest& g, const Insn& insn) {
    (void)insn;
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
    throw Open{"XSAVES or XRSTORS"};
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

void software_interrupt(Guest& g, const Insn& insn) {
    const auto vector = uint8_t(insn.operands[0].imm.value.u);
    if (g.v86()) {
        throw Open{"INT n in virtual-8086 mode"};
    }
    Event event;
    event.type = InterruptionType::SOFTWARE_INTERRUPT;
    event.vector = vector;
    event.length = insn.length;
    g.delivering = event;
    g.deliver(event);
    g.delivering.reset();
    throw Open{"a handler after INT n"};
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
    case ZYDIS_MNEMONIC_XRSTORS:
    case ZYDIS_MNEMONIC_XSAVES64:
    case ZYDIS_MNEMONIC_XRSTORS64:
        xsaves(*this, insn);
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
