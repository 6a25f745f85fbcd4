// IN, OUT, INS, OUTS through the I/O map (§15.10); RDMSR and WRMSR through the MSR map (§15.11).
#include "guest/sensitive.hpp"

#include <fmt/core.h>

namespace horos::model::svm::guest {

namespace {

namespace io = horos::svm::ioio;
using horos::svm::Misc1;

// ---- ports ----

struct PortAccess {
    uint16_t port = 0;
    unsigned bytes = 1;
    bool in = false;
    bool string = false;
    bool rep = false;
    SegReg segment = SegReg::DS;
    unsigned address_bits = 64;
};

PortAccess port_access(Cpu& cpu, const Insn& insn) {
    PortAccess a;
    switch (insn.zydis.mnemonic) {
    case ZYDIS_MNEMONIC_IN:
    case ZYDIS_MNEMONIC_OUT: {
        a.in = insn.zydis.mnemonic == ZYDIS_MNEMONIC_IN;
        const ZydisDecodedOperand& port = insn.operands[a.in ? 1 : 0];
        a.port = static_cast<uint16_t>(port.type == ZYDIS_OPERAND_TYPE_IMMEDIATE
                                           ? port.imm.value.u & 0xff
                                           : cpu.reg_value(ZYDIS_REGISTER_DX));
        a.bytes = insn.operands[a.in ? 0 : 1].size / 8;
        break;
    }
    default:
        a.string = true;
        a.port = static_cast<uint16_t>(cpu.reg_value(ZYDIS_REGISTER_DX));
        a.in = insn.zydis.mnemonic == ZYDIS_MNEMONIC_INSB ||
               insn.zydis.mnemonic == ZYDIS_MNEMONIC_INSW ||
               insn.zydis.mnemonic == ZYDIS_MNEMONIC_INSD;
        for (const ZydisDecodedOperand& operand : insn.operands) {
            if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY) {
                a.bytes = operand.size / 8;
                a.segment = cpu.segment_of(operand);
                break;
            }
        }
        a.rep = (insn.zydis.attributes &
                 (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE)) != 0;
    }
    a.address_bits = insn.zydis.address_width;
    return a;
}

// The task's own I/O bitmap (§12.2.4): any set bit refuses.
bool tss_refuses(Cpu& cpu, const PortAccess& a) {
    const Segment& tr = cpu.tr;
    const unsigned type = tr.attributes & 0xf;
    if ((type != 9 && type != 11) || tr.limit < 0x67 ||
        (type == 11 && cpu.deviates(Deviation::IO_BUSY_TSS))) {
        return true;
    }
    if (cpu.long_mode() && !cpu.canonical(tr.base)) {
        throw Open{"the I/O bitmap of a TSS whose base is not canonical"};
    }
    const uint64_t base = cpu.read_linear(cpu.canonicalize(tr.base + 0x66), 2, true);
    const uint64_t at = base + a.port / 8;
    if (at + 1 > tr.limit) {
        return true;
    }
    const uint64_t bits = cpu.read_linear(cpu.canonicalize(tr.base + at), 2, true);
    return ((bits >> (a.port % 8)) & ((1u << a.bytes) - 1)) != 0;
}

void port_checks(Cpu& cpu, const Insn& insn) {
    const PortAccess a = port_access(cpu, insn);
    const bool needs_bitmap = cpu.v86() || (cpu.protected_mode() && cpu.cpl > cpu.iopl());
    if (needs_bitmap && tss_refuses(cpu, a)) {
        gp0();
    }
}

// The low 12 bits are ignored (§15.10.1, §15.11).
uint64_t map_base(const Cpu& cpu, uint64_t base) {
    return (base & 0xfff) != 0 && cpu.deviates(Deviation::MAP_BASE_UNMASKED) ? base
                                                                             : base & ~0xfffull;
}

bool iopm_intercepts(Cpu& cpu, const PortAccess& a) {
    const uint64_t base = map_base(cpu, cpu.control.iopm_base_pa);
    for (unsigned i = 0; i < a.bytes; ++i) {
        const uint32_t bit = a.port + i; // runs past FFFFh into the three extra bits
        if ((cpu.memory.read_number(base + bit / 8, 1) >> (bit % 8) & 1) != 0) {
            return true;
        }
    }
    return false;
}

Masked port_info(const Cpu& cpu, const PortAccess& a) {
    uint64_t info = static_cast<uint64_t>(a.port) << io::PORT_SHIFT;
    info |= a.in ? io::IN : 0;
    info |= a.string ? io::STR : 0;
    info |= a.rep ? io::REP : 0;
    info |= a.bytes == 1 ? io::SZ8 : a.bytes == 2 ? io::SZ16 : io::SZ32;
    info |= a.address_bits == 64 ? io::A64 : a.address_bits == 32 ? io::A32 : io::A16;
    // The segment number belongs to the string forms, from decode assists on (§15.10.3).
    const bool has_segment = a.string && cpu.has(x86::cpuid::SVM_EDX_DECODE_ASSISTS);
    info |= has_segment ? static_cast<uint64_t>(a.segment) << io::SEG_SHIFT : 0;
    const uint64_t free =
        (1ull << 1) | (7ull << 13) | (has_segment ? 0 : io::SEG) | 0xffffffff00000000ull;
    return {info, ~free};
}

void execute_port(Cpu& cpu, const Insn& insn) {
    const PortAccess a = port_access(cpu, insn);
    if (cpu.intercepted(Misc1::IOIO_PROT) && iopm_intercepts(cpu, a)) {
        if (a.rep && cpu.gpr_value(Gpr::RCX) == 0) {
            throw Open{"a REP string instruction with a count of zero accesses no port"};
        }
        exit_instruction(cpu, ExitCode::IOIO, port_info(cpu, a), {insn.next_rip, ~0ull});
    }
    if (a.string) {
        throw Open{"INS and OUTS that are not intercepted are not modelled"};
    }
    if (a.in) {
        cpu.write_operand(insn.operands[0], {0, 0});
    }
    advance(cpu, insn);
}

// ---- MSRs ----

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
    {ZYDIS_MNEMONIC_IN, port_checks, {}, ExitCode::IOIO, nullptr, execute_port},
    {ZYDIS_MNEMONIC_OUT, port_checks, {}, ExitCode::IOIO, nullptr, execute_port},
    {ZYDIS_MNEMONIC_INSB, port_checks, {}, ExitCode::IOIO, nullptr, execute_port},
    {ZYDIS_MNEMONIC_INSW, port_checks, {}, ExitCode::IOIO, nullptr, execute_port},
    {ZYDIS_MNEMONIC_INSD, port_checks, {}, ExitCode::IOIO, nullptr, execute_port},
    {ZYDIS_MNEMONIC_OUTSB, port_checks, {}, ExitCode::IOIO, nullptr, execute_port},
    {ZYDIS_MNEMONIC_OUTSW, port_checks, {}, ExitCode::IOIO, nullptr, execute_port},
    {ZYDIS_MNEMONIC_OUTSD, port_checks, {}, ExitCode::IOIO, nullptr, execute_port},
    {ZYDIS_MNEMONIC_RDMSR, need_cpl0, {}, ExitCode::MSR, nullptr, execute_rdmsr},
    {ZYDIS_MNEMONIC_WRMSR, need_cpl0, {}, ExitCode::MSR, nullptr, execute_wrmsr},
};

} // namespace

std::span<const SensitiveRow> io_msr_rows() { return ROWS; }

} // namespace horos::model::svm::guest
