// RDMSR and WRMSR through the MSR map (APM vol. 2 rev. 3.42 §15.11).
#include "guest/sensitive.hpp"

#include <fmt/core.h>

namespace horos::model::svm::guest {

namespace {

using horos::svm::Misc1;

bool msrpm_intercepts(Cpu& cpu, uint32_t msr, bool write) {
    const uint32_t bit = horos::svm::msrpm_bit(msr);
    if (bit == horos::svm::MSRPM_NO_BIT) {
        return true;
    }
    if (msr < 0x2000 && (cpu.gpr[static_cast<size_t>(Gpr::RCX)].value >> 32 & 3) != 0 &&
        cpu.deviates(Deviation::MSRPM_WIDE_RCX)) {
        return cpu.choices.flip(); // from an address where the harness has no memory
    }
    const uint64_t base = map_base(cpu, cpu.control.msrpm_base_pa);
    const unsigned number = bit + (write ? 1 : 0);
    return (cpu.memory.read_number(base + number / 8, 1) >> (number % 8) & 1) != 0;
}
void check_msr_intercept(Cpu& cpu, uint32_t msr, bool write) {
    if (cpu.intercepted(Misc1::MSR_PROT) && msrpm_intercepts(cpu, msr, write)) {
        exit_instruction(cpu, ExitCode::MSR,
                         {write ? horos::svm::MSR_EXIT_WRITE : horos::svm::MSR_EXIT_READ, ~0ull});
    }
}

struct MsrRow {
    uint32_t msr;
    uint64_t* (*place)(Cpu&);
    bool canonical; // a value that is not canonical faults
    uint64_t width; // bits that are held
};
constexpr MsrRow MSRS[] = {
    {x86::msr::STAR, [](Cpu& c) { return &c.star; }, false, ~0ull},
    {x86::msr::LSTAR, [](Cpu& c) { return &c.lstar; }, true, ~0ull},
    {x86::msr::CSTAR, [](Cpu& c) { return &c.cstar; }, true, ~0ull},
    {x86::msr::SFMASK, [](Cpu& c) { return &c.sfmask; }, false, 0xffffffffull},
    {x86::msr::FS_BASE, [](Cpu& c) { return &c.sreg(SegReg::FS).base; }, true, ~0ull},
    {x86::msr::GS_BASE, [](Cpu& c) { return &c.sreg(SegReg::GS).base; }, true, ~0ull},
    {x86::msr::KERNEL_GS_BASE, [](Cpu& c) { return &c.kernel_gs_base; }, true, ~0ull},
    {x86::msr::SYSENTER_CS, [](Cpu& c) { return &c.sysenter_cs; }, false, 0xffffull},
    {x86::msr::SYSENTER_ESP, [](Cpu& c) { return &c.sysenter_esp; }, false, 0xffffffffull},
    {x86::msr::SYSENTER_EIP, [](Cpu& c) { return &c.sysenter_eip; }, false, 0xffffffffull},
};
const MsrRow* simple_msr(uint32_t msr) {
    for (const MsrRow& row : MSRS) {
        if (row.msr == msr) {
            return &row;
        }
    }
    return nullptr;
}

void write_efer(Cpu& cpu, uint64_t value) {
    using namespace x86::efer;
    const bool lme_changes = ((value ^ cpu.efer) & LME) != 0;
    const bool mode_change = lme_changes && (cpu.cr0 & x86::cr0::PG) != 0;
    if (mode_change || (value & ~cpu.profile.efer_defined) != 0) {
        if (!cpu.deviates(Deviation::MSR_LAX)) {
            gp0();
        }
        if (mode_change) {
            throw Open{"goes on in a mode that no processor would enter"};
        }
        value &= cpu.profile.efer_defined;
    }
    if ((value & SVME) == 0) {
        throw Open{"a guest that clears EFER.SVME has no defined behaviour"};
    }
    if (((value ^ cpu.efer) & LMA) != 0) {
        throw Open{"writing EFER.LMA: ignored or #GP by processor"};
    }
    cpu.efer = value;
}

void answer(Cpu& cpu, const Masked& value) {
    cpu.set_gpr32(Gpr::RAX, value);
    cpu.set_gpr32(Gpr::RDX, {value.value >> 32, value.known >> 32});
}

void execute_rdmsr(Cpu& cpu, const Insn& insn) {
    const auto msr = static_cast<uint32_t>(cpu.gpr32(Gpr::RCX));
    check_msr_intercept(cpu, msr, false);
    if (const MsrRow* row = simple_msr(msr)) {
        const uint64_t value = *row->place(cpu);
        answer(cpu, {value, (value & ~row->width) == 0 ? ~0ull : row->width});
    } else if (msr == x86::msr::EFER) {
        answer(cpu, {cpu.efer, ~0ull});
    } else if (msr == x86::msr::TSC) {
        answer(cpu, {0, 0});
        cpu.result.tsc_reads.push_back({cpu.control.tsc_offset});
    } else if (msr == x86::msr::PAT) {
        const bool own = cpu.nested_paging() && !cpu.deviates(Deviation::MSR_LAX);
        answer(cpu,
               {own ? cpu.g_pat : cpu.machine.host.pat, cpu.nested_paging() && !own ? 0 : ~0ull});
    } else if (msr == x86::msr::TSC_AUX) {
        answer(cpu, {cpu.tsc_aux.value, cpu.tsc_aux.known | 0xffffffff00000000ull});
    } else {
        throw Open{fmt::format("MSR {:#x} is not modelled", msr)};
    }
    advance(cpu, insn);
}

bool pat_legal(uint64_t pat) {
    for (unsigned i = 0; i < 8; ++i) {
        const uint64_t type = pat >> (8 * i) & 0xff;
        if (type > 7 || type == 2 || type == 3) {
            return false;
        }
    }
    return true;
}

void execute_wrmsr(Cpu& cpu, const Insn& insn) {
    const auto msr = static_cast<uint32_t>(cpu.gpr32(Gpr::RCX));
    check_msr_intercept(cpu, msr, true);
    const uint64_t value = cpu.gpr32(Gpr::RDX) << 32 | cpu.gpr32(Gpr::RAX);
    if (const MsrRow* row = simple_msr(msr)) {
        if (row->canonical && !cpu.canonical(value) && !cpu.deviates(Deviation::MSR_LAX)) {
            gp0();
        }
        if ((value & ~row->width) != 0) {
            throw Open{"bits of the MSR that parts hold or drop"};
        }
        *row->place(cpu) = value;
    } else if (msr == x86::msr::EFER) {
        write_efer(cpu, value);
    } else if (msr == x86::msr::PAT && cpu.nested_paging()) {
        if (!cpu.deviates(Deviation::MSR_LAX)) {
            if (!pat_legal(value)) {
                gp0();
            }
            cpu.g_pat = value;
        }
    } else if (msr == x86::msr::TSC_AUX) {
        if ((value >> 32) != 0) {
            throw Open{"TSC_AUX[63:32]: ignored or #GP by processor"};
        }
        cpu.tsc_aux = {value, ~0ull};
    } else {
        throw Open{fmt::format("MSR {:#x} is not modelled", msr)};
    }
    advance(cpu, insn);
}

constexpr SensitiveRow ROWS[] = {
    {ZYDIS_MNEMONIC_RDMSR, need_cpl0, {}, ExitCode::MSR, nullptr, execute_rdmsr},
    {ZYDIS_MNEMONIC_WRMSR, need_cpl0, {}, ExitCode::MSR, nullptr, execute_wrmsr},
};

} // namespace

std::span<const SensitiveRow> msr_rows() { return ROWS; }

} // namespace horos::model::svm::guest
