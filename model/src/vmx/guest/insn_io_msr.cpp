// IN, OUT, INS, OUTS, RDMSR, WRMSR (§24.6.4, §24.6.9, §25.1.3; exit qualification: table 27-5).
#include "guest/machine.hpp"
#include "tables.hpp"

namespace horos::model::vmx::guest {

namespace {

using namespace horos::vmx;

bool bitmap_bit(const Guest& g, uint64_t page, uint32_t bit) {
    return (g.physical(page + (bit >> 6) * 8) >> (bit & 63) & 1) != 0;
}

bool io_exits(const Guest& g, uint16_t port, unsigned bytes) {
    if (!g.proc(proc::USE_IO_BITMAPS)) {
        return g.proc(proc::UNCONDITIONAL_IO_EXITING);
    }
    if (uint32_t{port} + bytes > 0x10000) { // wraps around
        return true;
    }
    for (unsigned n = 0; n < bytes; ++n) {
        const uint32_t p = port + n;
        const uint64_t page = g.s[p < IO_BITMAP_PORTS ? F::IO_BITMAP_A : F::IO_BITMAP_B];
        if (bitmap_bit(g, page, p % IO_BITMAP_PORTS)) {
            return true;
        }
    }
    return false;
}

struct Io {
    bool in = false, string = false, immediate = false;
    uint16_t port = 0;
    unsigned bytes = 1;
};

Io decode(Guest& g, const Insn& insn) {
    Io io;
    const ZydisMnemonic m = insn.zydis.mnemonic;
    io.in = m == ZYDIS_MNEMONIC_IN || m == ZYDIS_MNEMONIC_INSB || m == ZYDIS_MNEMONIC_INSW ||
            m == ZYDIS_MNEMONIC_INSD;
    io.string = m != ZYDIS_MNEMONIC_IN && m != ZYDIS_MNEMONIC_OUT;
    const ZydisDecodedOperand& port = insn.operands[io.in ? 1 : 0];
    io.immediate = port.type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
    io.port = io.immediate ? uint16_t(port.imm.value.u) : uint16_t(g.gpr_value(2));
    io.bytes = insn.operands[io.in ? 0 : 1].size / 8;
    return io;
}

// Vol. 1 §18.5.2: at CPL > IOPL, or in virtual-8086 mode, the bitmap of the TSS decides.
void check_permission(Guest& g, const Io& io) {
    if (!g.protected_mode() || (g.cpl() <= g.iopl() && !g.v86())) {
        return;
    }
    const unsigned type = g.rights(Seg::TR) & 0xf;
    if (type == tss::BUSY_16 ||
        tss::refuses_port(uint32_t(g.limit(Seg::TR)), io.port, io.bytes,
                          [&](uint64_t offset) { return g.read_tss(offset, 2); })) {
        gp0();
    }
}

uint64_t address_mask(const Insn& insn) {
    return insn.zydis.address_width == 64   ? ~0ull
           : insn.zydis.address_width == 32 ? 0xffffffffull
                                            : 0xffffull;
}

// Without an exit: what a port gives is the machine's; one that takes shows nothing.
void plain_io(Guest& g, const Insn& insn, const Io& io, bool rep) {
    g.path.push_back(io.in ? "port input" : "port output");
    if (!io.string) {
        if (io.in) {
            g.set_reg(insn.operands[0].reg.value, 0, ~((1ull << io.bytes * 8) - 1));
        }
        return;
    }
    const uint64_t mask = address_mask(insn);
    if (rep && (g.gpr_value(1) & mask) == 0) {
        return;
    }
    if (rep && (g.gpr_value(1) & mask) != 1) {
        throw Open{"a repeated I/O instruction with several steps"};
    }
    const ZydisDecodedOperand& memory = insn.operands[io.in ? 0 : 1];
    const uint64_t at = g.operand_linear(memory, io.bytes, io.in ? Kind::WRITE : Kind::READ);
    if (io.in) {
        g.write(at, 0, io.bytes, 0);
    } else {
        (void)g.read(at, io.bytes);
    }
    const auto count = [&](unsigned n, uint64_t change) {
        const uint64_t keep = mask == 0xffff ? ~mask : 0; // a 32-bit result clears the rest
        g.gpr[n] = (g.gpr_value(n) & keep) | ((g.gpr[n] + change) & mask);
    };
    const uint64_t step = io.bytes;
    count(io.in ? 7 : 6, (g.rflags & x86::rflags::DF) != 0 ? 0 - step : step);
    if (rep) {
        count(1, ~0ull);
    }
}

void io(Guest& g, const Insn& insn) {
    const Io io = decode(g, insn);
    check_permission(g, io);
    const bool rep = (insn.zydis.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPNE)) != 0;
    if (!io_exits(g, io.port, io.bytes)) {
        plain_io(g, insn, io, rep);
        return;
    }
    Exit exit(ExitReason::IO);
    exit.length = insn.length;
    uint64_t q = (io.bytes - 1) | (io.in ? io_access::IN : 0) |
                 (io.immediate ? io_access::IMMEDIATE : 0) |
                 uint64_t{io.port} << io_access::PORT_SHIFT;
    if (io.string) {
        if (rep && (g.gpr_value(1) & address_mask(insn)) == 0) {
            throw Open{"a repeated I/O instruction with count 0"};
        }
        q |= io_access::STRING | (rep ? io_access::REP : 0);
        const ZydisDecodedOperand& memory = insn.operands[io.in ? 0 : 1];
        exit.linear = g.exit_linear(memory);
        if ((g.profile.basic & basic::INS_OUTS_INFORMATION) != 0) {
            const uint64_t segment_known = io.in ? 0 : 7u << 15;
            exit.information = Masked{g.memory_information(insn, memory), 7u << 7 | segment_known};
        }
    }
    exit.qualification = {q, ~0ull};
    g.path.push_back(io.string ? "string I/O: exit" : "I/O: exit");
    throw exit;
}

bool msr_exits(const Guest& g, uint32_t number, bool write) {
    if (!g.proc(proc::USE_MSR_BITMAPS)) {
        return true;
    }
    const uint32_t low = number & ~MSR_BITMAP_HIGH_FIRST;
    const bool high = number >= MSR_BITMAP_HIGH_FIRST;
    if (high ? low >= MSR_BITMAP_RANGE : number >= MSR_BITMAP_RANGE) {
        return true;
    }
    const uint32_t bit = (high ? low : number) + (high ? 1024 * 8 : 0) + (write ? 2048 * 8 : 0);
    return bitmap_bit(g, g.s[F::MSR_BITMAP], bit);
}

// The registers that the VMCS loads are known; the others are the machine's.
uint64_t* known_msr(Guest& g, uint32_t number) {
    switch (number) {
    case x86::msr::SYSENTER_CS:
        return &g.sysenter_cs;
    case x86::msr::SYSENTER_ESP:
        return &g.sysenter_esp;
    case x86::msr::SYSENTER_EIP:
        return &g.sysenter_eip;
    case x86::msr::FS_BASE:
        return &g.fs_base;
    case x86::msr::GS_BASE:
        return &g.gs_base;
    default:
        return nullptr;
    }
}

void msr(Guest& g, const Insn& insn, bool write) {
    if (g.cpl() != 0) {
        gp0();
    }
    const auto number = uint32_t(g.gpr_value(1));
    if (msr_exits(g, number, write)) {
        g.exit_instruction(write ? ExitReason::WRMSR : ExitReason::RDMSR, insn);
    }
    if (write ? g.write_x2apic(number) : g.read_x2apic(number)) {
        return;
    }
    uint64_t* place = known_msr(g, number);
    if (place == nullptr) {
        throw Open{"an MSR that does not exit"};
    }
    if (!write) {
        g.set_reg(ZYDIS_REGISTER_EAX, *place & 0xffffffff);
        g.set_reg(ZYDIS_REGISTER_EDX, *place >> 32);
        return;
    }
    const uint64_t value = (g.gpr_value(0) & 0xffffffff) | g.gpr_value(2) << 32;
    if (number == x86::msr::SYSENTER_CS) {
        if (value >> 32 != 0) {
            throw Open{"the high half of IA32_SYSENTER_CS"};
        }
    } else if (!g.canonical(value)) {
        gp0();
    }
    *place = value;
}

} // namespace

bool Guest::execute_io_msr(const Insn& insn) {
    switch (insn.zydis.mnemonic) {
    case ZYDIS_MNEMONIC_IN:
    case ZYDIS_MNEMONIC_OUT:
    case ZYDIS_MNEMONIC_INSB:
    case ZYDIS_MNEMONIC_INSW:
    case ZYDIS_MNEMONIC_INSD:
    case ZYDIS_MNEMONIC_OUTSB:
    case ZYDIS_MNEMONIC_OUTSW:
    case ZYDIS_MNEMONIC_OUTSD:
        io(*this, insn);
        return true;
    case ZYDIS_MNEMONIC_RDMSR:
        msr(*this, insn, false);
        return true;
    case ZYDIS_MNEMONIC_WRMSR:
        msr(*this, insn, true);
        return true;
    default:
        return false;
    }
}

} // namespace horos::model::vmx::guest
