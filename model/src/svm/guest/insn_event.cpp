// Instructions that raise events or return from them, the flag instructions, RSM, task switches.
#include "guest/basic.hpp"
#include "guest/iret.hpp"
#include "guest/sensitive.hpp"

namespace horos::model::svm::guest {

namespace {

using horos::svm::Misc1;
using horos::svm::Misc2;
namespace f = x86::rflags;

// ---- INTn, INT3, INTO, INT1 ----

void intn_info(Cpu& cpu, const Insn& insn, Exit& exit) {
    if (cpu.has(x86::cpuid::SVM_EDX_DECODE_ASSISTS)) {
        exit.info1 = {insn.operands[0].imm.value.u & 0xff, ~0ull};
    }
}
void execute_intn(Cpu& cpu, const Insn& insn) {
    if (cpu.v86()) {
        throw Open{"INTn in virtual-8086 mode is not modelled"};
    }
    Event event;
    event.type = EventType::SOFTWARE_INTERRUPT;
    event.vector = static_cast<uint8_t>(insn.operands[0].imm.value.u);
    event.checks_dpl = true;
    event.return_rip = insn.next_rip;
    cpu.deliver(event);
    cpu.entered_handler = true;
}
// INT3, INTO, BOUND (§15.12.3 to §15.12.5). A part may treat the first two as INTn.
void instruction_exception(Cpu& cpu, const Insn& insn, x86::Vector vector) {
    const bool traps = (cpu.control.intercept_exceptions >> static_cast<unsigned>(vector) & 1) != 0;
    const bool swint = cpu.intercepted(Misc1::SWINT);
    if ((traps || swint) && cpu.deviates(Deviation::INT3_IS_SWINT)) {
        if (swint) {
            exit_instruction(cpu, ExitCode::SWINT);
        }
        Event event;
        event.vector = static_cast<uint8_t>(vector);
        event.checks_dpl = true;
        event.return_rip = insn.next_rip;
        cpu.deliver(event);
        cpu.entered_handler = true;
        return;
    }
    Exception e = fault(vector);
    e.kind = Exception::Kind::INSTRUCTION;
    throw e;
}
void execute_int3(Cpu& cpu, const Insn& insn) { instruction_exception(cpu, insn, x86::Vector::BP); }
void execute_into(Cpu& cpu, const Insn& insn) {
    if ((cpu.flags_value() & f::OF) == 0) {
        advance(cpu, insn);
        return;
    }
    instruction_exception(cpu, insn, x86::Vector::OF);
}
// Vector 1 without the #DB intercept and without a DPL check (§15.12.2, §15.20).
void icebp_checks(Cpu& cpu, const Insn&) {
    if (cpu.deviates(Deviation::ICEBP_ABSENT)) {
        ud();
    }
}
void execute_icebp(Cpu& cpu, const Insn& insn) {
    Event event;
    event.vector = static_cast<uint8_t>(x86::Vector::DB);
    event.return_rip = insn.next_rip;
    cpu.debug_handler_without_cause();
    cpu.deliver(event);
    cpu.entered_handler = true;
}

// ---- PUSHF, POPF ----

unsigned flag_bytes(const Insn& insn) {
    switch (insn.zydis.mnemonic) {
    case ZYDIS_MNEMONIC_PUSHFQ:
    case ZYDIS_MNEMONIC_POPFQ:
        return 8;
    case ZYDIS_MNEMONIC_PUSHFD:
    case ZYDIS_MNEMONIC_POPFD:
        return 4;
    default:
        return 2;
    }
}
void check_v86_iopl(const Cpu& cpu) {
    if (cpu.v86() && cpu.iopl() < 3) {
        throw Open{"PUSHF and POPF below IOPL 3 in virtual-8086 mode"};
    }
}
void execute_pushf(Cpu& cpu, const Insn& insn) {
    check_v86_iopl(cpu);
    const uint64_t visible = ~(f::VM | f::RF);
    cpu.push({cpu.rflags & visible, cpu.rflags_known}, flag_bytes(insn));
    advance(cpu, insn);
}
void execute_popf(Cpu& cpu, const Insn& insn) {
    check_v86_iopl(cpu);
    const unsigned bytes = flag_bytes(insn);
    uint64_t changeable = f::CF | f::PF | f::AF | f::ZF | f::SF | f::TF | f::DF | f::OF | f::NT;
    changeable |= bytes >= 4 ? f::AC | f::ID : 0;
    changeable |= cpu.cpl <= cpu.iopl() ? f::IF : 0;
    changeable |= cpu.cpl == 0 ? f::IOPL : 0;
    const uint64_t value = cpu.known_value(cpu.pop(bytes));
    cpu.rflags = (cpu.rflags & ~changeable & ~f::RF) | (value & changeable);
    cpu.rflags_known |= changeable;
    advance(cpu, insn);
}

// ---- task switches (§15.14.1) ----

enum class Cause : uint8_t { IRET, FAR_JUMP, CALL };

[[noreturn]] void task_switch(Cpu& cpu, uint16_t selector, Cause cause) {
    if (!cpu.intercepted(Misc1::TASK_SWITCH) ||
        cpu.deviates(Deviation::TASK_SWITCH_NOT_INTERCEPTED)) {
        throw Open{"a task switch that is not intercepted is not modelled"};
    }
    namespace ts = horos::svm::task_switch;
    Exit exit{ExitCode::TASK_SWITCH};
    exit.info1 = {selector, 0xffff};
    exit.info2 = {cause == Cause::IRET       ? ts::IRET
                  : cause == Cause::FAR_JUMP ? ts::FAR_JUMP
                                             : 0,
                  ts::IRET | ts::FAR_JUMP | ts::HAS_ERROR_CODE};
    throw exit;
}

uint64_t gdt_entry(Cpu& cpu, uint16_t selector, x86::Vector vector) {
    if ((selector & 4) != 0 || (selector | 7u) > cpu.gdtr.limit) {
        throw fault(vector, selector & 0xfffcu);
    }
    return cpu.read_linear(cpu.table_linear(cpu.gdtr.base + (selector & 0xfff8u)), 8, true);
}
unsigned type_of(uint64_t descriptor) { return descriptor >> 40 & 0x1f; }
bool present(uint64_t descriptor) { return (descriptor >> 47 & 1) != 0; }

// ---- IRET ----

void iret_task_return(Cpu& cpu) {
    if ((cpu.tr.attributes & x86::seg::P) == 0 && cpu.deviates(Deviation::TSS_ABSENT_PANIC)) {
        throw Open{"dies: IRET: TR not valid"};
    }
    const auto link =
        static_cast<uint16_t>(cpu.read_linear(cpu.table_linear(cpu.tr.base), 2, true));
    const uint64_t tss = gdt_entry(cpu, link, x86::Vector::TS);
    if (type_of(tss) != x86::seg::TYPE_TSS_BUSY && type_of(tss) != x86::seg::TYPE_TSS16_BUSY) {
        throw fault(x86::Vector::TS, link & 0xfffcu);
    }
    if (!present(tss)) {
        throw fault(x86::Vector::NP, link & 0xfffcu);
    }
    task_switch(cpu, link, Cause::IRET);
}

void execute_iret(Cpu& cpu, const Insn& insn) {
    if (cpu.v86()) {
        throw Open{"IRET in virtual-8086 mode is not modelled"};
    }
    if (cpu.protected_mode() && (cpu.rflags & f::NT) != 0) {
        if (cpu.long_mode()) {
            gp0();
        }
        iret_task_return(cpu);
    }
    cpu.real() ? iret_real(cpu, insn) : iret_protected(cpu, insn);
    cpu.nmi_blocked = false;
}

void rsm_checks(Cpu& cpu, const Insn&) {
    if (cpu.intercepted(Misc1::RSM) && cpu.deviates(Deviation::RSM_UD)) {
        ud();
    }
}
void execute_rsm(Cpu&, const Insn&) { ud(); } // not in SMM

constexpr SensitiveRow ROWS[] = {
    {ZYDIS_MNEMONIC_INT, no_checks, at(Misc1::SWINT), ExitCode::SWINT, intn_info, execute_intn},
    {ZYDIS_MNEMONIC_INT3, no_checks, {}, ExitCode::EXCEPTION_0, nullptr, execute_int3},
    {ZYDIS_MNEMONIC_INTO, no_checks, {}, ExitCode::EXCEPTION_0, nullptr, execute_into},
    {ZYDIS_MNEMONIC_INT1, icebp_checks, at(Misc2::ICEBP), ExitCode::ICEBP, nullptr, execute_icebp},
    {ZYDIS_MNEMONIC_PUSHF, no_checks, at(Misc1::PUSHF), ExitCode::PUSHF, nullptr, execute_pushf},
    {ZYDIS_MNEMONIC_PUSHFD, no_checks, at(Misc1::PUSHF), ExitCode::PUSHF, nullptr, execute_pushf},
    {ZYDIS_MNEMONIC_PUSHFQ, no_checks, at(Misc1::PUSHF), ExitCode::PUSHF, nullptr, execute_pushf},
    {ZYDIS_MNEMONIC_POPF, no_checks, at(Misc1::POPF), ExitCode::POPF, nullptr, execute_popf},
    {ZYDIS_MNEMONIC_POPFD, no_checks, at(Misc1::POPF), ExitCode::POPF, nullptr, execute_popf},
    {ZYDIS_MNEMONIC_POPFQ, no_checks, at(Misc1::POPF), ExitCode::POPF, nullptr, execute_popf},
    {ZYDIS_MNEMONIC_IRET, no_checks, at(Misc1::IRET), ExitCode::IRET, nullptr, execute_iret},
    {ZYDIS_MNEMONIC_IRETD, no_checks, at(Misc1::IRET), ExitCode::IRET, nullptr, execute_iret},
    {ZYDIS_MNEMONIC_IRETQ, no_checks, at(Misc1::IRET), ExitCode::IRET, nullptr, execute_iret},
    {ZYDIS_MNEMONIC_RSM, rsm_checks, at(Misc1::RSM), ExitCode::RSM, nullptr, execute_rsm},
};

} // namespace

std::span<const SensitiveRow> event_rows() { return ROWS; }

// JMP and CALL far to a TSS or a task gate; every other far transfer is Open.
void execute_far_transfer(Cpu& cpu, const Insn& insn) {
    const Cause cause = insn.zydis.mnemonic == ZYDIS_MNEMONIC_JMP ? Cause::FAR_JUMP : Cause::CALL;
    const ZydisDecodedOperand& target = insn.operands[0];
    if (!cpu.protected_mode() || cpu.v86() || cpu.long_mode() ||
        target.type != ZYDIS_OPERAND_TYPE_POINTER) {
        throw Open{"this far transfer is not modelled"};
    }
    const uint16_t selector = target.ptr.segment;
    if ((selector & 0xfffc) == 0) {
        gp0();
    }
    if ((selector & 4) != 0) {
        throw Open{"far transfers through the LDT are not modelled"};
    }
    const uint64_t descriptor = gdt_entry(cpu, selector, x86::Vector::GP);
    const unsigned dpl = descriptor >> 45 & 3;
    const uint32_t error = selector & 0xfffcu;
    const unsigned type = type_of(descriptor);
    if (type != 1 && type != x86::seg::TYPE_TSS_AVAILABLE && type != 5) {
        throw Open{"far transfers that are no task switch are not modelled"};
    }
    if (dpl < cpu.cpl || dpl < (selector & 3u)) {
        throw fault(x86::Vector::GP, error);
    }
    if (!present(descriptor)) {
        throw fault(x86::Vector::NP, error);
    }
    if (type != 5) {
        task_switch(cpu, selector, cause);
    }
    const auto inner = static_cast<uint16_t>(descriptor >> 16);
    const uint64_t tss = gdt_entry(cpu, inner, x86::Vector::GP);
    if (type_of(tss) != 1 && type_of(tss) != x86::seg::TYPE_TSS_AVAILABLE) {
        throw fault(x86::Vector::GP, inner & 0xfffcu);
    }
    if (!present(tss)) {
        throw fault(x86::Vector::NP, inner & 0xfffcu);
    }
    task_switch(cpu, inner, cause);
}

} // namespace horos::model::svm::guest
