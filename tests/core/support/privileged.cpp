#include "privileged.hpp"
#include "kernel/core/shell.hpp"

namespace horos::test {

PrivilegedRegisters& privileged() {
    static PrivilegedRegisters registers[core::max_cores];
    return registers[core::shell_core()];
}

namespace {

// Bytes of a ModRM byte with what belongs to it: SIB and displacement.
unsigned operand_bytes(const std::uint8_t* modrm) {
    const unsigned mode = modrm[0] >> 6, base = modrm[0] & 7u;
    if (mode == 3)
        return 1;
    const bool sib = base == 4;
    const bool absolute = mode == 0 && (sib ? (modrm[1] & 7u) == 5 : base == 5);
    return 1 + (sib ? 1 : 0) + (mode == 1 ? 1 : mode == 2 || absolute ? 4 : 0);
}

// Order of the numbers in ModRM.
constexpr int gpr_of[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                            REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

std::uint64_t* special(std::uint8_t opcode, unsigned number) {
    const bool control = opcode == 0x20 || opcode == 0x22;
    return control ? &privileged().cr[number] : &privileged().dr[number & 7];
}

} // namespace

bool emulate_privileged(ucontext_t* context) {
    auto& regs = context->uc_mcontext.gregs;
    const auto* code = reinterpret_cast<const std::uint8_t*>(regs[REG_RIP]);
    unsigned prefix = 0;
    std::uint8_t rex = 0;
    if ((code[0] & 0xf0) == 0x40) {
        rex = code[0];
        prefix = 1;
    }
    code += prefix;
    if (code[0] != 0x0f)
        return false;
    if (code[1] == 0x01 && code[2] == 0xd1) { // XSETBV
        privileged().xcr0 = static_cast<std::uint32_t>(regs[REG_RAX]) |
                            static_cast<std::uint64_t>(regs[REG_RDX]) << 32;
    } else if (code[1] == 0x01 && (code[2] & 0x38) == 0x10) { // LGDT: the process keeps its own
        regs[REG_RIP] += prefix + 2 + operand_bytes(code + 2);
        return true;
    } else if (code[1] >= 0x20 && code[1] <= 0x23) { // MOV to and from CRn, DRn
        std::uint64_t* const target =
            special(code[1], (code[2] >> 3 & 7u) | ((rex & 4) != 0 ? 8u : 0u));
        auto& gpr = regs[gpr_of[(code[2] & 7u) | ((rex & 1) != 0 ? 8u : 0u)]];
        if (code[1] < 0x22)
            gpr = static_cast<long long>(*target);
        else
            *target = static_cast<std::uint64_t>(gpr);
    } else {
        return false;
    }
    regs[REG_RIP] += prefix + 3;
    return true;
}

} // namespace horos::test
