// x87, MMX and SSE: whether the instruction may execute at all (APM vol. 1 §6.9; vol. 2 rev. 3.42
// §3.1.1, §3.1.3, §8.2.8, §8.2.17, §15.14.2). What it computes is not followed.
#include "guest/sensitive.hpp"

namespace horos::model::svm::guest {

namespace {

bool is_sse(const Insn& insn) {
    switch (insn.zydis.meta.isa_ext) {
    case ZYDIS_ISA_EXT_SSE:
    case ZYDIS_ISA_EXT_SSE2:
    case ZYDIS_ISA_EXT_SSE3:
    case ZYDIS_ISA_EXT_SSSE3:
    case ZYDIS_ISA_EXT_SSE4:
        break;
    default:
        return false;
    }
    for (unsigned i = 0; i < insn.zydis.operand_count_visible; ++i) {
        if (insn.operands[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
            ZydisRegisterGetClass(insn.operands[i].reg.value) == ZYDIS_REGCLASS_XMM) {
            return true;
        }
    }
    return false;
}

// Instructions that do not look at a pending x87 exception first.
bool waits(ZydisMnemonic m) {
    return m != ZYDIS_MNEMONIC_FNINIT && m != ZYDIS_MNEMONIC_FNCLEX && m != ZYDIS_MNEMONIC_FNSTSW &&
           m != ZYDIS_MNEMONIC_FNSTCW && m != ZYDIS_MNEMONIC_FNSTENV && m != ZYDIS_MNEMONIC_FNSAVE;
}

// With CR0.NE #MF; without it FERR, which freezes the processor until an interrupt (§15.14.2).
[[noreturn]] void pending_x87(Cpu& cpu) {
    if ((cpu.cr0 & x86::cr0::NE) != 0) {
        throw fault(x86::Vector::MF);
    }
    if (cpu.intercepted(horos::svm::Misc1::FERR_FREEZE)) {
        throw Exit{ExitCode::FERR_FREEZE};
    }
    throw Open{"FERR that is not intercepted waits for the interrupt controller"};
}

} // namespace

bool Cpu::execute_fpu(const Insn& insn) {
    using namespace x86::cr0;
    const bool x87 = insn.zydis.meta.isa_ext == ZYDIS_ISA_EXT_X87;
    const bool mmx = insn.zydis.meta.isa_ext == ZYDIS_ISA_EXT_MMX;
    const bool sse = is_sse(insn);
    if (!x87 && !mmx && !sse) {
        return false;
    }
    const bool absent = sse ? (cr0 & EM) != 0 || (cr4 & x86::cr4::OSFXSR) == 0 //
                            : mmx && (cr0 & EM) != 0;
    if (absent) {
        ud();
    }
    const bool wait = insn.zydis.mnemonic == ZYDIS_MNEMONIC_FWAIT;
    const bool unavailable = wait  ? (cr0 & (TS | MP)) == (TS | MP)
                             : x87 ? (cr0 & (TS | EM)) != 0
                                   : (cr0 & TS) != 0;
    if (unavailable) {
        throw fault(x86::Vector::NM);
    }
    if (machine.guest.x87_pending && !sse && waits(insn.zydis.mnemonic)) {
        pending_x87(*this);
    }
    if (wait) {
        advance(*this, insn);
        return true;
    }
    throw Open{"what x87, MMX and SSE instructions compute is not followed"};
}

} // namespace horos::model::svm::guest
