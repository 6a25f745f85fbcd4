// The guest's instruction loop.
#include "guest/cpu.hpp"

#include <fmt/core.h>

namespace horos::model::svm::guest {

namespace {

namespace ic = horos::svm::int_ctl;

Registers snapshot(const Cpu& cpu) {
    return {cpu.gpr, cpu.seg, cpu.rip, cpu.rflags, cpu.rflags_known, cpu.cpl};
}
void restore(Cpu& cpu, const Registers& r) {
    cpu.gpr = r.gpr;
    cpu.seg = r.seg;
    cpu.rip = r.rip;
    cpu.rflags = r.rflags;
    cpu.rflags_known = r.rflags_known;
    cpu.cpl = r.cpl;
}

// States that VMRUN accepts and whose guest behaviour the manual leaves open, or features that
// the model does not follow.
void refuse_open_states(const Cpu& cpu) {
    const Machine& m = cpu.machine;
    const bool lma = (cpu.efer & x86::efer::LMA) != 0;
    const bool active = (cpu.efer & x86::efer::LME) != 0 && (cpu.cr0 & x86::cr0::PG) != 0;
    if (lma != active) {
        throw Open{"EFER.LMA does not match EFER.LME and CR0.PG: the mode is not defined"};
    }
    if ((lma || cpu.real()) && (cpu.rflags & x86::rflags::VM) != 0) {
        throw Open{"RFLAGS.VM in long mode or real mode"};
    }
    if ((cpu.cr4 & x86::cr4::PCIDE) != 0 && !lma) {
        throw Open{"CR4.PCIDE outside long mode"};
    }
    if (!cpu.code64() && (cpu.rip >> 32) != 0) {
        throw Open{"RIP above 4 GiB outside 64-bit mode"};
    }
    const bool page_faults_exit = (cpu.control.intercept_exceptions >> 14 & 1) != 0;
    if (cpu.real() && (cpu.cr0 & x86::cr0::PG) != 0 && !page_faults_exit) {
        throw Open{"paged real mode without the #PF intercept (§15.19)"};
    }
    const uint16_t cs = cpu.sreg(SegReg::CS).attributes;
    if ((cpu.real() || cpu.v86()) && (cs & (x86::seg::DB | x86::seg::L)) != 0) {
        throw Open{"real or virtual-8086 mode with CS.D or CS.L set"};
    }
    if (!lma && (cs & x86::seg::L) != 0) {
        throw Open{"CS.L outside long mode"};
    }
    if (cpu.has(x86::cpuid::SVM_EDX_AVIC) && (cpu.control.int_ctl & ic::AVIC_ENABLE) != 0) {
        throw Open{"AVIC is not modelled"};
    }
    if (cpu.profile.sev && (m.host.syscfg >> 23 & 1) != 0 && (cpu.control.nested_ctl & 6) != 0) {
        throw Open{"SEV guests are not modelled"};
    }
    if (!m.vmcb_cache_is_fresh && m.vmcb_cached == nullptr && cpu.control.clean_bits != 0 &&
        cpu.has(x86::cpuid::SVM_EDX_VMCB_CLEAN)) {
        throw Open{"clean bits with a VMCB that changed since the last VMRUN (§15.15.2)"};
    }
    const auto flush = static_cast<horos::svm::TlbControl>(cpu.control.tlb_control);
    const bool flushed = flush == horos::svm::TlbControl::FLUSH_ALL ||
                         (flush == horos::svm::TlbControl::FLUSH_GUEST &&
                          cpu.has(x86::cpuid::SVM_EDX_FLUSH_BY_ASID));
    if (!m.tlb_is_fresh && m.tlb == nullptr && !flushed &&
        ((cpu.cr0 & x86::cr0::PG) != 0 || cpu.nested_paging())) {
        throw Open{"the TLB may hold stale translations (§15.16)"};
    }
}

// Deviation::SEGMENT_KINDS: of a CS that is no segment nothing is loaded, or, where its type is
// that of a TSS or the LDT, all but L, which stays what it was; D beside it is then refused.
void load_odd_code_segment(Cpu& cpu) {
    namespace s = x86::seg;
    Segment& cs = cpu.sreg(SegReg::CS);
    const bool odd = (cs.attributes & (s::P | s::S)) == s::P;
    if (!odd || !cpu.deviates(Deviation::SEGMENT_KINDS)) {
        return;
    }
    if (!is_system_segment(cs)) {
        throw Open{"CS that is no segment: what it holds is not loaded"};
    }
    const bool left_over = cpu.choices.flip();
    if (left_over && (cs.attributes & s::DB) != 0) {
        throw Refused{};
    }
    const bool l = left_over && cpu.long_mode(); // else it means nothing
    cs.attributes = static_cast<uint16_t>((cs.attributes & ~s::L) | (l ? s::L : 0));
}

constexpr uint64_t B_MASK = 0xf; // B3:B0 of DR6

// Breakpoints at the instruction, enabled or not.
uint64_t matches(const Cpu& cpu, bool enabled) {
    const uint64_t at = cpu.code64() ? cpu.rip : cpu.sreg(SegReg::CS).base + cpu.rip;
    uint64_t bits = 0;
    for (unsigned i = 0; i < 4; ++i) {
        const bool armed = (cpu.dr7 >> (2 * i) & 3) != 0;
        const bool execution = (cpu.dr7 >> (16 + 4 * i) & 3) == 0;
        bits |= execution && cpu.dr[i] == at && (armed || !enabled) ? 1ull << i : 0;
    }
    return (cpu.rflags & x86::rflags::RF) == 0 ? bits : 0;
}

// Instruction breakpoints (§13.1.4); others are not followed.
void breakpoints(Cpu& cpu) {
    for (unsigned i = 0; i < 4; ++i) {
        const bool armed = (cpu.dr7 >> (2 * i) & 3) != 0;
        const uint64_t kind = cpu.dr7 >> (16 + 4 * i) & 0xf; // LEN, R/W
        if (armed && kind != 0 && !cpu.deviates(Deviation::BREAKPOINTS_NOT_ARMED)) {
            throw Open{(kind & 3) != 0
                           ? "data and I/O breakpoints are not modelled"
                           : "an instruction breakpoint with a length (§13.1.1.4: undefined)"};
        }
    }
    uint64_t hit = matches(cpu, true);
    if (hit == 0 || cpu.deviates(Deviation::BREAKPOINTS_NOT_ARMED)) {
        return;
    }
    const uint64_t all = matches(cpu, false);
    if (all != hit && cpu.deviates(Deviation::BREAKPOINT_NAMES_ALL)) {
        hit = all;
    }
    cpu.note_matches(hit);
    throw fault(x86::Vector::DB);
}

// Deviation::BREAKPOINT_BEFORE_EVENTS.
bool breakpoint_goes_first(const Cpu& cpu) {
    const bool event =
        cpu.nmi_pending || cpu.intr_pending || (cpu.int_ctl & horos::svm::int_ctl::V_IRQ) != 0;
    return event && !cpu.waiting && matches(cpu, true) != 0 &&
           cpu.deviates(Deviation::BREAKPOINT_BEFORE_EVENTS);
}

// Deviation::DR6_DISABLED_MATCH: B3:B0 name each register that holds RIP, enabled or not.
void match_disabled(Cpu& cpu) {
    uint64_t bits = cpu.dr6 & ~B_MASK;
    for (unsigned i = 0; i < 4; ++i) {
        const bool execution = (cpu.dr7 >> (16 + 4 * i) & 3) == 0;
        bits |= execution && cpu.dr[i] == cpu.rip ? 1ull << i : 0;
    }
    if (bits != cpu.dr6 && cpu.deviates(Deviation::DR6_DISABLED_MATCH)) {
        cpu.dr6 = bits;
    }
}

// Instructions after which the single-step trap does not come.
bool loses_trap(const Cpu& cpu, const Insn& insn) {
    const ZydisMnemonic m = insn.zydis.mnemonic;
    return (m == ZYDIS_MNEMONIC_STI || m == ZYDIS_MNEMONIC_PAUSE || m == ZYDIS_MNEMONIC_MWAIT ||
            m == ZYDIS_MNEMONIC_HLT) &&
           cpu.deviates(Deviation::TRAP_LOST);
}

} // namespace

void Cpu::roll_back() {
    if (executing_) {
        restore(*this, before_);
        executing_ = false;
        if (uncommitted_rip && *uncommitted_rip != rip &&
            deviates(Deviation::NMI_RIP_UNCOMMITTED)) {
            rip = *uncommitted_rip;
        }
    }
}

void Cpu::commit_step() { before_ = snapshot(*this); }

bool Cpu::leaks_trap(const Exit& exit) const {
    const bool dropped = is_exception(exit.code) || exit.code == ExitCode::TASK_SWITCH;
    return executing_ && (before_.rflags & x86::rflags::TF) != 0 && !dropped &&
           deviates(Deviation::TRAP_LEAKS);
}

void Cpu::note_debug_cause(uint64_t cause) {
    before_cause_ = {dr6, dr7, dr6_known};
    dr6 |= cause;
}

void Cpu::note_matches(uint64_t hit) {
    note_debug_cause(hit);
    dr6 &= ~B_MASK | hit;
    dr6_known |= B_MASK;
}

// Each breakpoint and general detect updates B3:B0 (§13.1.1.3); whether a single step does is not
// said.
void Cpu::note_single_step() {
    note_debug_cause(x86::dr6::BS);
    dr6_known &= ~(dr6 & B_MASK);
}

Exit Cpu::run() {
    load_odd_code_segment(*this);
    refuse_open_states(*this);
    inject();
    for (unsigned i = 0; i < machine.max_instructions; ++i) {
        step();
        if (left) {
            return *left;
        }
    }
    throw Stop{OutcomeKind::RUNS_ON};
}

void Cpu::step() {
    insn_next_rip = rip;
    if (!breakpoint_goes_first(*this)) {
        boundary();
    }
    if (waiting) {
        throw Stop{OutcomeKind::HALTED};
    }
    const bool single_step = (rflags & x86::rflags::TF) != 0;
    std::optional<Exception> raised;
    before_ = snapshot(*this);
    executing_ = true;
    row.reset();
    try {
        insn_next_rip = rip;
        insn_length_known = false;
        breakpoints(*this);
        const Insn insn = fetch();
        insn_next_rip = insn.next_rip;
        insn_length_known = insn.zydis.mnemonic != ZYDIS_MNEMONIC_UD0;
        next_shadow = false;
        entered_handler = false;
        loaded_resume = false;
        execute(insn);
        if (left) {
            return; // in the middle of the instruction, like an exit that is thrown
        }
        ++result.instructions;
        uncommitted_rip.reset();
        if (!loaded_resume) { // else it lasts until the next instruction is through (§3.1.6)
            rflags &= ~x86::rflags::RF;
        }
        shadow = next_shadow;
        // INTn, INT3 and INTO clear TF on the way into their handler (vol. 3), so no trap follows.
        if (single_step && !entered_handler && !loses_trap(*this, insn)) {
            match_disabled(*this);
            note_single_step();
            raised = Exception{x86::Vector::DB};
            raised->kind = Exception::Kind::TRAP;
            insn_next_rip = rip;
        }
    } catch (const Exception& e) {
        roll_back();
        raised = e;
        if (row) {
            feature(*row + 1);
        }
    }
    executing_ = false;
    row.reset();
    if (raised) {
        raise(*raised);
    }
}

void Cpu::execute(const Insn& insn) {
    if ((insn.zydis.attributes & ZYDIS_ATTRIB_HAS_LOCK) != 0) {
        throw Open{"LOCK prefixes are not modelled"};
    }
    if (!execute_sensitive(insn) && !execute_basic(insn) && !execute_fpu(insn)) {
        throw Open{fmt::format("instruction {} is not modelled",
                               ZydisMnemonicGetString(insn.zydis.mnemonic))};
    }
}

} // namespace horos::model::svm::guest
