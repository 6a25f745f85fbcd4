// Task switches always exit (§25.4.2): what is checked before, and CALL, JMP and IRET that ask for
// one (vol. 2A; exit qualification: table 27-2).
#include "guest/machine.hpp"
#include "tables.hpp"

namespace horos::model::vmx::guest {

namespace {

using namespace horos::vmx;

constexpr uint8_t INVALID_TSS = 10, NOT_PRESENT = 11, GENERAL_PROTECTION = 13;

} // namespace

// The TSS was found; its limit is the last that is checked.
void Guest::switch_task(uint16_t selector, const SegmentDescriptor& d, uint32_t ext,
                        TaskSource source, std::optional<unsigned> length) {
    const bool wide = (d.type() & 8) != 0;
    if (d.limit() < (wide ? tss::LEAST_LIMIT_32 : tss::LEAST_LIMIT_16)) {
        throw Exception{INVALID_TSS, (selector & 0xfffcu) | ext};
    }
    path.push_back("task switch");
    Exit exit(ExitReason::TASK_SWITCH);
    exit.qualification = {selector | uint64_t(source) << task_switch::SOURCE_SHIFT, ~0ull};
    exit.length = length;
    throw exit;
}

// By a task gate, whose own checks are done. Neither CPL nor RPL matters to the TSS (step 2).
void Guest::gate_to_task(uint16_t selector, uint32_t ext, TaskSource source,
                         std::optional<unsigned> length) {
    const uint32_t error = (selector & 0xfffcu) | ext;
    if ((selector & 4) != 0) {
        throw Exception{GENERAL_PROTECTION, error};
    }
    const SegmentDescriptor d = gdt_descriptor(selector, GENERAL_PROTECTION, error);
    if (d.type() != tss::AVAILABLE_16 && d.type() != tss::AVAILABLE_32) {
        throw Exception{GENERAL_PROTECTION, error};
    }
    if (!d.present()) {
        throw Exception{NOT_PRESENT, error};
    }
    switch_task(selector, d, ext, source, length);
}

void Guest::far_transfer(const Insn& insn, TaskSource source) {
    if (!protected_mode() || v86()) {
        throw Open{"a far transfer in real-address or virtual-8086 mode"};
    }
    const ZydisDecodedOperand& to = insn.operands[0];
    uint16_t selector = 0;
    if (to.type == ZYDIS_OPERAND_TYPE_POINTER) {
        selector = to.ptr.segment;
    } else {
        const unsigned bytes = to.size / 8u;
        const uint64_t at = operand_linear(to, bytes, Kind::READ);
        (void)read(at, bytes - 2);
        selector = uint16_t(read(at + bytes - 2, 2));
    }
    if ((selector & 0xfffc) == 0) {
        gp0();
    }
    const uint32_t error = selector & 0xfffcu;
    const SegmentDescriptor d = gdt_descriptor(selector, GENERAL_PROTECTION, error);
    const unsigned type = d.type();
    const bool is_tss = type == tss::AVAILABLE_16 || type == tss::AVAILABLE_32;
    if ((type & 0x18) == 0x18 || type == 0xc || (!ia32e() && type == 4)) { // code, call gates
        throw Open{"a far transfer that is no task switch"};
    }
    if (ia32e() || (!is_tss && type != tss::TASK_GATE)) {
        throw Exception{GENERAL_PROTECTION, error}; // steps 1 and 3, or no segment to go to
    }
    if (d.dpl() < cpl() || d.dpl() < (selector & 3u)) {
        throw Exception{GENERAL_PROTECTION, error};
    }
    if (!d.present()) {
        throw Exception{NOT_PRESENT, error};
    }
    if (type == tss::TASK_GATE) {
        gate_to_task(Gate{d.low}.selector(), 0, source, insn.length);
    }
    switch_task(selector, d, 0, source, insn.length);
}

// Only the return to another task (NT) is followed.
void Guest::iret(const Insn& insn) {
    // §25.3; even if it faults.
    if (!pin(pin::NMI_EXITING) || pin(pin::VIRTUAL_NMIS)) {
        interruptibility &= ~interruptibility::BLOCKING_BY_NMI;
    }
    if ((rflags & x86::rflags::NT) == 0 || !protected_mode() || v86()) {
        throw Open{"IRET that stays in its task"};
    }
    if (ia32e()) {
        gp0(); // step 7
    }
    const auto selector = uint16_t(read_tss(0, 2)); // the link to the task before
    const uint32_t error = selector & 0xfffcu;
    if ((selector & 4) != 0) {
        throw Exception{INVALID_TSS, error};
    }
    const SegmentDescriptor d = gdt_descriptor(selector, INVALID_TSS, error);
    if (d.type() != tss::BUSY_16 && d.type() != tss::BUSY_32) {
        throw Exception{INVALID_TSS, error};
    }
    if (!d.present()) {
        throw Exception{NOT_PRESENT, error};
    }
    switch_task(selector, d, 0, TaskSource::IRET, insn.length);
}

bool Guest::execute_task(const Insn& insn) {
    const bool far = insn.zydis.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR;
    switch (insn.zydis.mnemonic) {
    case ZYDIS_MNEMONIC_CALL:
    case ZYDIS_MNEMONIC_JMP:
        if (!far) {
            return false;
        }
        far_transfer(insn, insn.zydis.mnemonic == ZYDIS_MNEMONIC_CALL ? TaskSource::CALL
                                                                      : TaskSource::JMP);
        return true;
    case ZYDIS_MNEMONIC_IRET:
    case ZYDIS_MNEMONIC_IRETD:
    case ZYDIS_MNEMONIC_IRETQ:
        iret(insn);
        return true;
    default:
        return false;
    }
}

} // namespace horos::model::vmx::guest
