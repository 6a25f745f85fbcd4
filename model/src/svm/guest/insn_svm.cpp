// VMRUN, VMLOAD, VMSAVE, VMMCALL, STGI, CLGI, SKINIT and INVLPGA in the guest.
#include "guest/sensitive.hpp"

namespace horos::model::svm::guest {

namespace {

using horos::svm::Misc1;
using horos::svm::Misc2;
namespace ic = horos::svm::int_ctl;

bool absent_mode(const Cpu& cpu) {
    return !cpu.protected_mode() || (cpu.v86() && !cpu.deviates(Deviation::SVM_IN_V86));
}
void svm_checks(Cpu& cpu, const Insn& insn) {
    if ((cpu.efer & x86::efer::SVME) == 0 || absent_mode(cpu)) {
        ud();
    }
    need_cpl0(cpu, insn);
}
// "Checks exceptions (#GP) before the intercept": whether that includes the ones of the operand
// in rAX is left open; they depend on its value (§15.7).
void svm_address_checks(Cpu& cpu, const Insn& insn) {
    svm_checks(cpu, insn);
    const uint64_t rax = cpu.code64() ? cpu.gpr_value(Gpr::RAX) : cpu.gpr32(Gpr::RAX);
    if (((rax & 0xfff) != 0 || rax >= cpu.profile.physical_limit()) && !cpu.choices.flip()) {
        gp0();
    }
}
void execute_skinit(Cpu& cpu, const Insn&) {
    if (cpu.deviates(Deviation::SKINIT_ANY_CPL)) { // and then it is not there
        ud();
    }
    if (cpu.deviates(Deviation::SKINIT_PANIC)) {
        throw Open{"dies: SKINIT is not implemented"};
    }
    throw Open{"SKINIT that is not intercepted starts a new host"};
}
void nested_vm(Cpu&, const Insn&) {
    throw Open{"an SVM instruction that is not intercepted works on system memory"};
}
void execute_vmmcall(Cpu&, const Insn&) { ud(); }

bool vgif(const Cpu& cpu) {
    return cpu.has(x86::cpuid::SVM_EDX_VGIF) && (cpu.control.int_ctl & ic::V_GIF_ENABLE) != 0;
}
void execute_stgi(Cpu& cpu, const Insn& insn) {
    if (vgif(cpu)) {
        cpu.int_ctl |= ic::V_GIF;
    }
    advance(cpu, insn); // without vGIF the physical GIF, which is set while a guest runs
}
void execute_clgi(Cpu& cpu, const Insn& insn) {
    if (!vgif(cpu)) {
        throw Open{"CLGI without vGIF holds physical events back"};
    }
    cpu.int_ctl &= ~ic::V_GIF;
    advance(cpu, insn);
}
void usable_checks(Cpu& cpu) {
    const uint32_t ecx = cpu.profile.leaf(x86::cpuid::LEAF_EXT_FEATURES).ecx;
    const bool usable = (cpu.efer & x86::efer::SVME) != 0 || (ecx & x86::cpuid::E1_ECX_SKINIT) != 0;
    if (!usable || absent_mode(cpu)) {
        ud();
    }
}
void stgi_checks(Cpu& cpu, const Insn& insn) {
    usable_checks(cpu);
    need_cpl0(cpu, insn);
}
void skinit_checks(Cpu& cpu, const Insn& insn) {
    usable_checks(cpu);
    if (cpu.cpl != 0 && cpu.deviates(Deviation::SKINIT_ANY_CPL)) {
        return;
    }
    need_cpl0(cpu, insn);
}

constexpr SensitiveRow ROWS[] = {
    {ZYDIS_MNEMONIC_VMRUN, svm_address_checks, at(Misc2::VMRUN), ExitCode::VMRUN, nullptr,
     nested_vm},
    {ZYDIS_MNEMONIC_VMLOAD, svm_address_checks, at(Misc2::VMLOAD), ExitCode::VMLOAD, nullptr,
     nested_vm},
    {ZYDIS_MNEMONIC_VMSAVE, svm_address_checks, at(Misc2::VMSAVE), ExitCode::VMSAVE, nullptr,
     nested_vm},
    {ZYDIS_MNEMONIC_VMMCALL, no_checks, at(Misc2::VMMCALL), ExitCode::VMMCALL, nullptr,
     execute_vmmcall},
    {ZYDIS_MNEMONIC_STGI, stgi_checks, at(Misc2::STGI), ExitCode::STGI, nullptr, execute_stgi},
    {ZYDIS_MNEMONIC_CLGI, svm_checks, at(Misc2::CLGI), ExitCode::CLGI, nullptr, execute_clgi},
    {ZYDIS_MNEMONIC_SKINIT, skinit_checks, at(Misc2::SKINIT), ExitCode::SKINIT, nullptr,
     execute_skinit},
    {ZYDIS_MNEMONIC_INVLPGA, svm_checks, at(Misc1::INVLPGA), ExitCode::INVLPGA, nullptr, nothing},
};

} // namespace

std::span<const SensitiveRow> svm_rows() { return ROWS; }

} // namespace horos::model::svm::guest
