// ACPI table walk. Section numbers are of the ACPI specification 6.5.
#include "acpi.hpp"

namespace horos::arch {
namespace {

struct [[gnu::packed]] Rsdp { // 5.2.5.3
    char signature[8];
    u8 checksum;
    char oem[6];
    u8 revision;
    u32 rsdt;
    u32 length; // from revision 2
    u64 xsdt;
    u8 extended_checksum;
    u8 reserved[3];
};
static_assert(sizeof(Rsdp) == 36);
constexpr u64 rsdp_first_size = 20;

struct [[gnu::packed]] TableHeader { // 5.2.6
    char signature[4];
    u32 length;
    u8 revision;
    u8 checksum;
    char oem[6];
    char oem_table[8];
    u32 oem_revision, creator, creator_revision;
};
static_assert(sizeof(TableHeader) == 36);

constexpr u32 max_table = 1u << 20;
constexpr u32 max_tables = 128;

bool same(const void* data, const char* text, u64 size) {
    return __builtin_memcmp(data, text, size) == 0;
}

bool sums_to_zero(const PhysMemory& memory, u64 address, u64 size) {
    const u8* bytes = memory.at(address, size);
    if (!bytes)
        return false;
    u8 sum = 0;
    for (u64 i = 0; i < size; ++i)
        sum = static_cast<u8>(sum + bytes[i]);
    return sum == 0;
}

bool is_rsdp(const PhysMemory& memory, u64 address) {
    const u8* bytes = memory.at(address, rsdp_first_size);
    return bytes && same(bytes, "RSD PTR ", 8) && sums_to_zero(memory, address, rsdp_first_size);
}

// Reads a table's header and verifies length and checksum of the whole.
bool check_table(const PhysMemory& memory, u64 address, TableHeader& header) {
    return memory.read(address, header) && header.length >= sizeof header &&
           header.length <= max_table && sums_to_zero(memory, address, header.length);
}

// Interrupt source override and NMI flags (5.2.12.5): polarity 1:0, trigger 3:2; 3 = low / level.
Complaint parse_override(const PhysMemory& memory, u64 at, AcpiInfo& out) {
    struct [[gnu::packed]] {
        u8 type, length, bus, source;
        u32 gsi;
        u16 flags;
    } entry;
    if (!memory.read(at, entry))
        return "the MADT is cut short";
    if (out.override_count == AcpiInfo::max_overrides)
        return "the MADT has more than 16 interrupt overrides";
    out.overrides[out.override_count++] = {entry.gsi, entry.source, (entry.flags & 3) == 3,
                                           (entry.flags >> 2 & 3) == 3};
    return nullptr;
}

Complaint parse_ioapic(const PhysMemory& memory, u64 at, AcpiInfo& out) {
    struct [[gnu::packed]] {
        u8 type, length, id, reserved;
        u32 address, gsi_base;
    } entry;
    if (!memory.read(at, entry))
        return "the MADT is cut short";
    if (entry.address % 4096 > 4096 - 32)
        return "an IOAPIC of the MADT straddles a page";
    if (out.ioapic_count == AcpiInfo::max_ioapics)
        return "the MADT has more than 8 IOAPICs";
    out.ioapics[out.ioapic_count++] = {entry.address, entry.gsi_base};
    return nullptr;
}

void add_cpu(u32 apic_id, u32 flags, AcpiInfo& out) {
    if ((flags & 1) == 0)
        return; // not enabled
    for (u32 i = 0; i < out.cpu_count; ++i)
        if (out.apic_ids[i] == apic_id)
            return; // listed in both forms
    if (apic_id >= 255 || out.cpu_count == abi::max_cores)
        ++out.cpus_left_out;
    else
        out.apic_ids[out.cpu_count++] = apic_id;
}

Complaint parse_madt_entry(const PhysMemory& memory, u64 at, u8 type, u8 length, AcpiInfo& out) {
    struct [[gnu::packed]] {
        u8 type, length, acpi_id, apic_id;
        u32 flags;
    } local;
    struct [[gnu::packed]] {
        u8 type, length;
        u16 reserved;
        u32 apic_id, flags, acpi_id;
    } x2local;
    struct [[gnu::packed]] {
        u8 type, length;
        u16 reserved;
        u64 address;
    } address;
    switch (type) {
    case 0:
        if (length < sizeof local || !memory.read(at, local))
            return "the MADT is cut short";
        add_cpu(local.apic_id, local.flags, out);
        return nullptr;
    case 1:
        return length < 12 ? "the MADT is cut short" : parse_ioapic(memory, at, out);
    case 2:
        return length < 10 ? "the MADT is cut short" : parse_override(memory, at, out);
    case 5:
        if (length < sizeof address || !memory.read(at, address))
            return "the MADT is cut short";
        out.lapic_address = address.address;
        return nullptr;
    case 9:
        if (length < sizeof x2local || !memory.read(at, x2local))
            return "the MADT is cut short";
        add_cpu(x2local.apic_id, x2local.flags, out);
        return nullptr;
    default:
        return nullptr;
    }
}

Complaint parse_madt(const PhysMemory& memory, u64 table, u32 length, AcpiInfo& out) { // 5.2.12
    u32 lapic = 0;
    if (length < 44 || !memory.read(table + 36, lapic))
        return "the MADT is cut short";
    out.lapic_address = lapic;
    u32 offset = 44;
    while (length - offset >= 2) {
        u8 head[2];
        if (!memory.read(table + offset, head))
            return "the MADT is cut short";
        if (head[1] < 2 || head[1] > length - offset)
            return "a MADT entry has an impossible length";
        if (Complaint wrong = parse_madt_entry(memory, table + offset, head[0], head[1], out))
            return wrong;
        offset += head[1];
    }
    return nullptr;
}

// Fields of the FADT by their offset (5.2.9); older ones are shorter, so each is asked for.
template <class T>
T fadt_field(const PhysMemory& memory, u64 table, u32 length, u32 offset) {
    T value = 0;
    if (offset + sizeof(T) > length || !memory.read(table + offset, value))
        return 0;
    return value;
}

Complaint parse_fadt(const PhysMemory& memory, u64 table, u32 length, AcpiInfo& out) {
    if (length < 116)
        return "the FADT is too short";
    const u32 flags = fadt_field<u32>(memory, table, length, 112);
    out.pm1a_control = fadt_field<u32>(memory, table, length, 64);
    out.pm1b_control = fadt_field<u32>(memory, table, length, 68);
    out.pm_timer = fadt_field<u32>(memory, table, length, 76);
    out.pm_timer_32bit = flags >> 8 & 1;
    if (out.pm1a_control > 0xfffe || out.pm1b_control > 0xfffe || out.pm_timer > 0xfffc)
        return "the FADT names a port above 65535";
    const u64 long_dsdt = fadt_field<u64>(memory, table, length, 140);
    out.dsdt = long_dsdt ? long_dsdt : fadt_field<u32>(memory, table, length, 40);
    if (flags >> 10 & 1) { // RESET_REG_SUP
        const u8 space = fadt_field<u8>(memory, table, length, 116);
        out.reset.address = fadt_field<u64>(memory, table, length, 120);
        out.reset.io_port = space == 1;
        out.reset.present = out.reset.io_port && out.reset.address <= 0xffff;
        out.reset_value = fadt_field<u8>(memory, table, length, 128);
    }
    TableHeader dsdt;
    if (out.dsdt && (!check_table(memory, out.dsdt, dsdt) || !same(dsdt.signature, "DSDT", 4)))
        return "the DSDT has a wrong signature, length or checksum";
    return nullptr;
}

// Root table: its address and the size of its entries.
Complaint find_root_table(const PhysMemory& memory, u64 address, u64& table, u32& entry_size) {
    Rsdp rsdp{};
    if (address == 0 || !is_rsdp(memory, address))
        return "no ACPI tables (RSDP) were found";
    __builtin_memcpy(&rsdp, memory.at(address, rsdp_first_size), rsdp_first_size);
    if (rsdp.revision >= 2) {
        if (!memory.read(address, rsdp) || rsdp.length < sizeof rsdp || rsdp.length > 4096 ||
            !sums_to_zero(memory, address, rsdp.length))
            return "the ACPI RSDP has a wrong length or checksum";
        if (rsdp.xsdt != 0) {
            table = rsdp.xsdt;
            entry_size = 8;
            return nullptr;
        }
    }
    table = rsdp.rsdt;
    entry_size = 4;
    return nullptr;
}

} // namespace

u64 find_rsdp(const PhysMemory& memory) {
    u16 ebda_segment = 0;
    if (memory.read(0x40e, ebda_segment)) {
        const u64 ebda = u64{ebda_segment} << 4;
        if (ebda >= 0x80000 && ebda < 0xa0000)
            for (u64 at = ebda; at < ebda + 1024; at += 16)
                if (is_rsdp(memory, at))
                    return at;
    }
    for (u64 at = 0xe0000; at < 0x100000; at += 16)
        if (is_rsdp(memory, at))
            return at;
    return 0;
}

Complaint parse_acpi(const PhysMemory& memory, u64 rsdp, AcpiInfo& out) {
    out = {};
    u64 root = 0;
    u32 entry_size = 0;
    if (Complaint wrong = find_root_table(memory, rsdp, root, entry_size))
        return wrong;
    TableHeader header;
    if (!check_table(memory, root, header) ||
        !same(header.signature, entry_size == 8 ? "XSDT" : "RSDT", 4))
        return "the ACPI root table has a wrong signature, length or checksum";
    const u32 count = (header.length - u32{sizeof header}) / entry_size;
    if (count > max_tables)
        return "the ACPI root table lists more than 128 tables";
    bool has_madt = false;
    for (u32 i = 0; i < count; ++i) {
        u64 address = 0;
        __builtin_memcpy(&address, memory.at(root + sizeof header + i * entry_size, entry_size),
                         entry_size);
        TableHeader table;
        if (!memory.read(address, table))
            continue; // not ours, and out of reach
        const bool madt = same(table.signature, "APIC", 4), fadt = same(table.signature, "FACP", 4);
        if (!madt && !fadt)
            continue;
        if (!check_table(memory, address, table))
            return madt ? "the MADT has a wrong length or checksum"
                        : "the FADT has a wrong length or checksum";
        has_madt |= madt;
        if (Complaint wrong = madt ? parse_madt(memory, address, table.length, out)
                                   : parse_fadt(memory, address, table.length, out))
            return wrong;
    }
    if (!has_madt)
        return "there is no MADT (ACPI table of processors)";
    if (out.cpu_count == 0)
        return "the MADT lists no usable processor";
    if (out.lapic_address == 0 || out.lapic_address % 4096)
        return "the MADT has no usable local APIC address";
    if (out.ioapic_count == 0)
        return "the MADT lists no IOAPIC";
    return nullptr;
}

} // namespace horos::arch
