// IN, OUT, INS, OUTS through the I/O map (APM vol. 2 rev. 3.42 §15.10).
#include "guest/sensitive.hpp"
#include "tables.hpp"

namespace horos::model::svm::guest {

namespace {

namespace io = horos::svm::ioio;
using horos::svm::Misc1;

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
    if ((type != tss::AVAILABLE_32 && type != tss::BUSY_32) || tr.limit < tss::LEAST_LIMIT_32 ||
        (type == tss::BUSY_32 && cpu.deviates(Deviation::IO_BUSY_TSS))) {
        return true;
    }
    if (cpu.long_mode() && !cpu.canonical(tr.base)) {
        throw Open{"the I/O bitmap of a TSS whose base is not canonical"};
    }
    return tss::refuses_port(tr.limit, a.port, a.bytes, [&](uint64_t offset) {
        return cpu.read_linear(cpu.canonicalize(tr.base + offset), 2, true);
    });
}

void port_checks(Cpu& cpu, const Insn& insn) {
    const PortAccess a = port_access(cpu, insn);
    const bool needs_bitmap = cpu.v86() || (cpu.protected_mode() && cpu.cpl > cpu.iopl());
    if (needs_bitmap && tss_refuses(cpu, a)) {
        gp0();
    }
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

// ---- execution ----

uint64_t address_mask(unsigned bits) { return bits >= 64 ? ~0ull : (1ull << bits) - 1; }

// A register as wide as the addresses; 32 bits clear the upper half.
void set_register(Cpu& cpu, Gpr g, uint64_t value, unsigned bits) {
    Masked& r = cpu.gpr[static_cast<size_t>(g)];
    if (bits == 64) {
        r = {value, ~0ull};
    } else if (bits == 32) {
        cpu.set_gpr32(g, {value & 0xffffffff, ~0ull});
    } else {
        r = {(r.value & ~0xffffull) | (value & 0xffff), r.known | 0xffff};
    }
}

// One access: between memory and the port, which the model knows nothing of.
void string_step(Cpu& cpu, const PortAccess& a, bool down) {
    const Gpr index = a.in ? Gpr::RDI : Gpr::RSI;
    const uint64_t offset = cpu.gpr_value(index) & address_mask(a.address_bits);
    if (a.in) {
        cpu.write(SegReg::ES, offset, {0, 0}, a.bytes);
    } else {
        cpu.read(a.segment, offset, a.bytes);
    }
    set_register(cpu, index, down ? offset - a.bytes : offset + a.bytes, a.address_bits);
}

bool event_pending(const Cpu& cpu) {
    return cpu.nmi_pending || cpu.intr_pending || (cpu.int_ctl & horos::svm::int_ctl::V_IRQ) != 0;
}

// REP: a fault or a trap comes between two steps, with RIP still at the instruction and the
// registers as the steps done left them (APM vol. 3 §1.2.6; vol. 2 rev. 3.42 §8.2.2).
void execute_string(Cpu& cpu, const Insn& insn, const PortAccess& a) {
    constexpr uint64_t MOST_STEPS = 64;
    const bool down = (cpu.flags_value() & x86::rflags::DF) != 0;
    if (!a.rep) {
        string_step(cpu, a, down);
        advance(cpu, insn);
        return;
    }
    const uint64_t mask = address_mask(a.address_bits);
    uint64_t count = cpu.gpr_value(Gpr::RCX) & mask;
    if (count > MOST_STEPS) {
        throw Open{"a repeated INS or OUTS with more steps than are followed"};
    }
    if (count > 1 && ((cpu.shadow && event_pending(cpu)) || (cpu.dr7 & 0xff) != 0)) {
        throw Open{"a repeated instruction between whose steps an event may come"};
    }
    if (count == 0 && a.address_bits == 32 &&
        cpu.code64()) { // whether they are written is not said
        for (const Gpr g : {Gpr::RCX, a.in ? Gpr::RDI : Gpr::RSI}) {
            Masked& r = cpu.gpr[static_cast<size_t>(g)];
            r.known &= (r.value >> 32) != 0 ? 0xffffffff : ~0ull;
        }
    }
    while (count > 0) {
        string_step(cpu, a, down);
        set_register(cpu, Gpr::RCX, --count, a.address_bits);
        if (count > 0) {
            cpu.commit_step();
            if ((cpu.rflags & x86::rflags::TF) != 0) {
                return;
            }
        }
    }
    advance(cpu, insn);
}

void execute_port(Cpu& cpu, const Insn& insn) {
    const PortAccess a = port_access(cpu, insn);
    if (cpu.intercepted(Misc1::IOIO_PROT) && iopm_intercepts(cpu, a)) {
        if (a.rep && (cpu.gpr_value(Gpr::RCX) & address_mask(a.address_bits)) == 0) {
            throw Open{"a REP string instruction with a count of zero accesses no port"};
        }
        exit_instruction(cpu, ExitCode::IOIO, port_info(cpu, a), {insn.next_rip, ~0ull});
    }
    if (a.string) {
        execute_string(cpu, insn, a);
        return;
    }
    if (a.in) {
        cpu.write_operand(insn.operands[0], {0, 0});
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
};

} // namespace

std::span<const SensitiveRow> io_rows() { return ROWS; }

} // namespace horos::model::svm::guest
