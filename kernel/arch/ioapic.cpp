#include "ioapic.hpp"
#include "io.hpp"
#include "layout.hpp"

namespace horos::arch {
namespace {

struct IoApic {
    volatile u32* registers;
    u32 gsi_base;
    u32 lines;
};
constexpr u32 select = 0, window = 4; // in words
constexpr u32 register_version = 1, register_redirection = 0x10;
constexpr u32 masked_bit = 1u << 16, level_bit = 1u << 15, low_bit = 1u << 13;

IoApic ioapics[AcpiInfo::max_ioapics];
u32 count = 0;
IsaOverride overrides[AcpiInfo::max_overrides];
u32 override_count = 0;

u32 read(const IoApic& io, u32 index) {
    io.registers[select] = index;
    return io.registers[window];
}
void write(const IoApic& io, u32 index, u32 value) {
    io.registers[select] = index;
    io.registers[window] = value;
}

const IoApic* find(u32 gsi) {
    for (u32 i = 0; i < count; ++i)
        if (gsi >= ioapics[i].gsi_base && gsi - ioapics[i].gsi_base < ioapics[i].lines)
            return &ioapics[i];
    return nullptr;
}

u32 redirection(const IoApic& io, u32 gsi) {
    return register_redirection + 2 * (gsi - io.gsi_base);
}

// The two 8259s: moved off the exception vectors, all lines masked.
void silence_legacy() {
    constexpr u16 master = 0x20, slave = 0xa0;
    out8(master, 0x11);
    out8(slave, 0x11);
    out8(master + 1, 0x20);
    out8(slave + 1, 0x28);
    out8(master + 1, 4);
    out8(slave + 1, 2);
    out8(master + 1, 1);
    out8(slave + 1, 1);
    out8(master + 1, 0xff);
    out8(slave + 1, 0xff);
}

} // namespace

void ioapic_init(const AcpiInfo& acpi) {
    silence_legacy();
    for (u32 i = 0; i < acpi.ioapic_count; ++i) {
        IoApic& io = ioapics[count++];
        const u64 page = layout::ioapic(i) + acpi.ioapics[i].address % abi::frame_size;
        io.registers = reinterpret_cast<volatile u32*>(page);
        io.gsi_base = acpi.ioapics[i].gsi_base;
        io.lines = (read(io, register_version) >> 16 & 0xff) + 1;
        for (u32 line = 0; line < io.lines; ++line)
            write(io, register_redirection + 2 * line, masked_bit);
    }
    for (u32 i = 0; i < acpi.override_count; ++i)
        overrides[override_count++] = acpi.overrides[i];
}

bool line_exists(u32 gsi) { return find(gsi) != nullptr; }

void line_route(u32 gsi, u8 vector, u32 apic_id, bool level, bool active_low) {
    const IoApic* io = find(gsi);
    if (!io)
        return;
    for (u32 i = 0; i < override_count && !level && !active_low; ++i) {
        if (overrides[i].gsi != gsi)
            continue;
        level = overrides[i].level;
        active_low = overrides[i].active_low;
        break;
    }
    const u32 index = redirection(*io, gsi);
    write(*io, index, masked_bit);
    write(*io, index + 1, apic_id << 24);
    write(*io, index, masked_bit | vector | (level ? level_bit : 0) | (active_low ? low_bit : 0));
}

void line_mask(u32 gsi, bool masked) {
    const IoApic* io = find(gsi);
    if (!io)
        return;
    const u32 index = redirection(*io, gsi);
    const u32 value = read(*io, index);
    write(*io, index, masked ? value | masked_bit : value & ~masked_bit);
}

} // namespace horos::arch
