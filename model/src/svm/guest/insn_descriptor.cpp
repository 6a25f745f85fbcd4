// SGDT, SIDT, LGDT, LIDT, SLDT, STR, LLDT, LTR (APM vol. 2 rev. 3.42 table 15-7: the intercept
// comes after #UD and #GP, before any memory access).
#include "guest/descriptor.hpp"
#include "guest/sensitive.hpp"

namespace horos::model::svm::guest {

namespace {

using horos::svm::Misc1;

void umip_checks(Cpu& cpu, const Insn&) {
    if (umip_refuses(cpu)) {
        gp0();
    }
}
void selector_mode(Cpu& cpu) {
    if (!cpu.protected_mode() || cpu.v86()) {
        ud();
    }
}
void store_selector_checks(Cpu& cpu, const Insn& insn) {
    selector_mode(cpu);
    umip_checks(cpu, insn);
}
void load_selector_checks(Cpu& cpu, const Insn& insn) {
    selector_mode(cpu);
    need_cpl0(cpu, insn);
}

void store_table(Cpu& cpu, const Insn& insn, const Segment& table) {
    const SegReg r = cpu.segment_of(insn.operands[0]);
    const uint64_t offset = cpu.effective_offset(insn.operands[0]);
    const unsigned base_bytes = cpu.code64() ? 8 : 4;
    // The upper byte of the base with a 16-bit operand differs between parts.
    const bool short_form = !cpu.code64() && insn.operand_bits() == 16;
    const uint64_t known = short_form ? 0x00ffffffull : ~0ull;
    cpu.linear(r, offset, 2 + base_bytes, Access::WRITE);
    cpu.write(r, offset, {table.limit & 0xffff, ~0ull}, 2);
    const uint64_t sure =
        cpu.code64() && !cpu.canonical(table.base) ? 0x0000ffffffffffffull : ~0ull;
    cpu.write(r, offset + 2, {table.base, known & sure}, base_bytes);
    advance(cpu, insn);
}
struct PseudoDescriptor {
    uint64_t limit, base;
};
// Which of its two parts is read first, and so faults first, is not said.
PseudoDescriptor read_pseudo_descriptor(Cpu& cpu, SegReg r, uint64_t offset, unsigned base_bytes) {
    const auto limit = [&] { return cpu.known_value(cpu.read(r, offset, 2)); };
    const auto base = [&] { return cpu.known_value(cpu.read(r, offset + 2, base_bytes)); };
    const auto other_way = [&] {
        if (cpu.choices.flip()) {
            base();
        }
    };
    try {
        const uint64_t first = limit();
        return {first, base()};
    } catch (const Exception&) {
        other_way();
        throw;
    } catch (const Exit&) {
        other_way();
        throw;
    }
}
void load_table(Cpu& cpu, const Insn& insn, Segment& table) {
    const SegReg r = cpu.segment_of(insn.operands[0]);
    const uint64_t offset = cpu.effective_offset(insn.operands[0]);
    const unsigned base_bytes = cpu.code64() ? 8 : 4;
    const auto [limit, loaded] = read_pseudo_descriptor(cpu, r, offset, base_bytes);
    uint64_t base = loaded;
    if (!cpu.code64() && insn.operand_bits() == 16) {
        base &= 0xffffff;
    }
    if (cpu.code64() && !cpu.canonical(base) && !cpu.deviates(Deviation::TABLE_BASE_UNCHECKED)) {
        gp0();
    }
    table.limit = static_cast<uint32_t>(limit);
    table.base = base;
    advance(cpu, insn);
}
void sgdt(Cpu& cpu, const Insn& insn) { store_table(cpu, insn, cpu.gdtr); }
void sidt(Cpu& cpu, const Insn& insn) { store_table(cpu, insn, cpu.idtr); }
void lgdt(Cpu& cpu, const Insn& insn) { load_table(cpu, insn, cpu.gdtr); }
void lidt(Cpu& cpu, const Insn& insn) { load_table(cpu, insn, cpu.idtr); }

void store_selector(Cpu& cpu, const Insn& insn, uint16_t selector) {
    cpu.write_operand(insn.operands[0], {selector, ~0ull});
    advance(cpu, insn);
}
void sldt(Cpu& cpu, const Insn& insn) { store_selector(cpu, insn, cpu.ldtr.selector); }
void str(Cpu& cpu, const Insn& insn) { store_selector(cpu, insn, cpu.tr.selector); }
// The LDT or TSS that LLDT and LTR load: from the GDT, of a type that `fits`.
struct SystemSegment {
    Segment segment;
    uint64_t at; // linear address of the descriptor
};
template <typename Fits>
SystemSegment system_segment(Cpu& cpu, uint16_t selector, Fits fits) {
    using x86::Vector;
    const uint32_t error = selector & 0xfffcu;
    if ((selector & 4) != 0) {
        throw fault(Vector::GP, error);
    }
    const bool wide = cpu.long_mode();
    const uint64_t at = descriptor_address(cpu, selector, Vector::GP, error, wide ? 16 : 8);
    const Descriptor d{cpu.read_linear(at, 8, true)};
    const uint64_t high = wide ? cpu.read_linear(at + 8, 8, true) : 0;
    constexpr uint64_t HIGH_TYPE = 0x1full << 40; // a data segment's place is not read as one
    if (!fits(d.attributes() & 0x1f) || (high & HIGH_TYPE) != 0) {
        throw fault(Vector::GP, error);
    }
    if (!d.present()) {
        throw fault(Vector::NP, error);
    }
    SystemSegment s{d.expand(selector), at};
    s.segment.base |= high << 32;
    if (wide && !cpu.canonical(s.segment.base)) {
        throw fault(Vector::GP, error);
    }
    return s;
}

void lldt(Cpu& cpu, const Insn& insn) {
    const auto selector =
        static_cast<uint16_t>(cpu.known_value(cpu.read_operand(insn.operands[0])));
    if ((selector & 0xfffc) != 0) {
        cpu.ldtr = system_segment(cpu, selector, [](unsigned type) { return type == 2; }).segment;
        advance(cpu, insn);
        return;
    }
    cpu.ldtr.selector = selector;
    cpu.ldtr.attributes &= static_cast<uint16_t>(~x86::seg::P);
    cpu.result.vmsave_base_open |= 1u << 2; // vol. 3 marks it invalid, and says no more
    advance(cpu, insn);
}
void ltr(Cpu& cpu, const Insn& insn) {
    const auto selector =
        static_cast<uint16_t>(cpu.known_value(cpu.read_operand(insn.operands[0])));
    if ((selector & 0xfffc) == 0) {
        if (!cpu.deviates(Deviation::LTR_TAKES_NULL)) {
            gp0();
        }
        cpu.tr = Segment{};
        cpu.tr.selector = selector;
        advance(cpu, insn);
        return;
    }
    constexpr unsigned BUSY = 2, TSS16 = 1, TSS = x86::seg::TYPE_TSS_AVAILABLE;
    const bool wide = cpu.long_mode();
    const SystemSegment tss = system_segment(
        cpu, selector, [&](unsigned type) { return type == TSS || (type == TSS16 && !wide); });
    const uint64_t type_at = tss.at + 5;
    cpu.write_linear(type_at, cpu.read_linear(type_at, 1, true) | BUSY, 1, ~0ull, true);
    cpu.tr = tss.segment;
    cpu.tr.attributes |= BUSY;
    advance(cpu, insn);
}

constexpr SensitiveRow ROWS[] = {
    {ZYDIS_MNEMONIC_SGDT, umip_checks, at(Misc1::GDTR_READ), ExitCode::GDTR_READ, nullptr, sgdt},
    {ZYDIS_MNEMONIC_SIDT, umip_checks, at(Misc1::IDTR_READ), ExitCode::IDTR_READ, nullptr, sidt},
    {ZYDIS_MNEMONIC_LGDT, need_cpl0, at(Misc1::GDTR_WRITE), ExitCode::GDTR_WRITE, nullptr, lgdt},
    {ZYDIS_MNEMONIC_LIDT, need_cpl0, at(Misc1::IDTR_WRITE), ExitCode::IDTR_WRITE, nullptr, lidt},
    {ZYDIS_MNEMONIC_SLDT, store_selector_checks, at(Misc1::LDTR_READ), ExitCode::LDTR_READ, nullptr,
     sldt},
    {ZYDIS_MNEMONIC_STR, store_selector_checks, at(Misc1::TR_READ), ExitCode::TR_READ, nullptr,
     str},
    {ZYDIS_MNEMONIC_LLDT, load_selector_checks, at(Misc1::LDTR_WRITE), ExitCode::LDTR_WRITE,
     nullptr, lldt},
    {ZYDIS_MNEMONIC_LTR, load_selector_checks, at(Misc1::TR_WRITE), ExitCode::TR_WRITE, nullptr,
     ltr},
};

} // namespace

std::span<const SensitiveRow> descriptor_rows() { return ROWS; }

} // namespace horos::model::svm::guest
