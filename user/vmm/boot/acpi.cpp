#include "boot/acpi.hpp"

#include <span>

#include "boot/layout.hpp"
#include "devices/ioapic.hpp"
#include "devices/lapic.hpp"
#include "devices/power.hpp"

namespace horos::vmm {

// Made of dsdt.asl at build time.
extern const std::span<const u8> dsdt_table;

namespace {

// A byte cursor in the firmware area.
class Writer {
public:
    Writer(const GuestMemory& memory, u64 begin, u64 end)
        : memory_(memory), at_(begin), end_(end) {}

    u64 position() const { return at_; }
    bool failed() const { return failed_; }
    void align(u64 to) { at_ = (at_ + to - 1) & ~(to - 1); }

    template <class Word>
    void put(Word value) {
        for (unsigned i = 0; i < sizeof(Word); ++i)
            byte(static_cast<u8>(static_cast<u64>(value) >> (8 * i)));
    }
    void text(const char* string, unsigned count) {
        for (unsigned i = 0; i < count; ++i)
            byte(static_cast<u8>(*string != 0 ? *string++ : ' '));
    }
    void bytes(std::span<const u8> data) {
        for (const u8 value : data)
            byte(value);
    }
    void zeros(unsigned count) {
        for (unsigned i = 0; i < count; ++i)
            byte(0);
    }
    // Generic address structure of an 8-bit I/O port.
    void port(u16 number) {
        put<u8>(1); // system I/O
        put<u8>(8);
        put<u8>(0);
        put<u8>(1); // byte access
        put<u64>(number);
    }

private:
    void byte(u8 value) {
        u8* place = at_ < end_ ? memory_.at(at_, 1) : nullptr;
        if (place == nullptr) {
            failed_ = true;
            return;
        }
        *place = value;
        ++at_;
    }
    const GuestMemory& memory_;
    u64 at_, end_;
    bool failed_ = false;
};

void set_checksum(const GuestMemory& memory, u64 begin, u64 bytes, u64 where) {
    u8* place = memory.at(begin, bytes);
    if (place == nullptr)
        return;
    place[where] = 0;
    u8 sum = 0;
    for (u64 i = 0; i < bytes; ++i)
        sum = static_cast<u8>(sum + place[i]);
    place[where] = static_cast<u8>(0 - sum);
}

constexpr unsigned checksum_offset = 9, length_offset = 4;

void begin_table(Writer& out, const char* signature, u8 revision) {
    out.text(signature, 4);
    out.put<u32>(0); // length: end_table()
    out.put<u8>(revision);
    out.put<u8>(0); // checksum: end_table()
    out.text("HOROS", 6);
    out.text("HOROSVM", 8);
    out.put<u32>(1);
    out.text("HORO", 4);
    out.put<u32>(1);
}

void end_table(const GuestMemory& memory, Writer& out, u64 begin) {
    const u32 bytes = static_cast<u32>(out.position() - begin);
    memory.store<u32>(begin + length_offset, bytes);
    set_checksum(memory, begin, bytes, checksum_offset);
    out.align(16);
}

// Fixed ACPI description table, revision 6.4 layout (ACPI 6.4 §5.2.9).
u64 write_fadt(const GuestMemory& memory, Writer& out, u64 dsdt) {
    constexpr u32 hardware_reduced = bit32(20), reset_supported = bit32(10), wbinvd = bit32(0);
    constexpr u16 no_vga = 1 << 2, no_msi = 1 << 3, no_aspm = 1 << 4;
    const u64 begin = out.position();
    begin_table(out, "FACP", 6);
    out.put<u32>(0);                         // FIRMWARE_CTRL
    out.put<u32>(static_cast<u32>(dsdt));    // DSDT
    out.zeros(109 - 44);                     // PM blocks and their lengths: none
    out.put<u16>(no_vga | no_msi | no_aspm); // IAPC_BOOT_ARCH (109); no 8042, no legacy devices
    out.put<u8>(0);
    out.put<u32>(hardware_reduced | reset_supported | wbinvd); // flags (112)
    out.port(power_port::reset_control);                       // RESET_REG (116)
    out.put<u8>(6);                                            // RESET_VALUE
    out.put<u16>(0);                                           // ARM_BOOT_ARCH
    out.put<u8>(4);                                            // minor version
    out.put<u64>(0);                                           // X_FIRMWARE_CTRL (132)
    out.put<u64>(dsdt);                                        // X_DSDT (140)
    out.zeros(244 - 148);                                      // X_PM and X_GPE blocks
    out.port(power_port::sleep_control);                       // SLEEP_CONTROL_REG (244)
    out.port(power_port::sleep_status);                        // SLEEP_STATUS_REG (256)
    out.put<u64>(0);                                           // hypervisor vendor identity
    end_table(memory, out, begin);
    return begin;
}

// Multiple APIC description table (ACPI 6.4 §5.2.12).
u64 write_madt(const GuestMemory& memory, Writer& out, const AcpiInputs& inputs) {
    const u64 begin = out.position();
    begin_table(out, "APIC", 4);
    out.put<u32>(static_cast<u32>(Lapic::default_base));
    out.put<u32>(0); // no PC-AT PICs that an operating system would have to mask
    for (u32 i = 0; i < inputs.vcpus; ++i) {
        out.put<u8>(0); // processor local APIC
        out.put<u8>(8);
        out.put<u8>(static_cast<u8>(i));
        out.put<u8>(static_cast<u8>(i));
        out.put<u32>(1); // enabled
    }
    if (inputs.ioapic) {
        out.put<u8>(1); // I/O APIC
        out.put<u8>(12);
        out.put<u8>(0);
        out.put<u8>(0);
        out.put<u32>(static_cast<u32>(Ioapic::default_base));
        out.put<u32>(0);
        // IRQ 0 arrives at pin 2, as on a PC.
        out.put<u8>(2);
        out.put<u8>(10);
        out.put<u8>(0);
        out.put<u8>(0);
        out.put<u32>(2);
        out.put<u16>(0);
    }
    out.put<u8>(4); // local APIC NMI: LINT1 of all processors
    out.put<u8>(6);
    out.put<u8>(0xff);
    out.put<u16>(0);
    out.put<u8>(1);
    end_table(memory, out, begin);
    return begin;
}

} // namespace

u64 write_acpi_tables(const GuestMemory& memory, const AcpiInputs& inputs) {
    constexpr u64 rsdp = layout::firmware_begin;
    constexpr unsigned rsdp_bytes = 36;
    Writer out(memory, rsdp + 64, layout::tables_end);
    const u64 dsdt = out.position();
    out.bytes(dsdt_table);
    out.align(16);
    const u64 fadt = write_fadt(memory, out, dsdt);
    const u64 madt = write_madt(memory, out, inputs);
    const u64 xsdt = out.position();
    begin_table(out, "XSDT", 1);
    out.put<u64>(fadt);
    out.put<u64>(madt);
    end_table(memory, out, xsdt);

    Writer root(memory, rsdp, rsdp + rsdp_bytes);
    root.text("RSD PTR ", 8);
    root.put<u8>(0);
    root.text("HOROS", 6);
    root.put<u8>(2);  // revision: ACPI 2.0 and later
    root.put<u32>(0); // no RSDT
    root.put<u32>(rsdp_bytes);
    root.put<u64>(xsdt);
    root.put<u32>(0);
    set_checksum(memory, rsdp, 20, 8);
    set_checksum(memory, rsdp, rsdp_bytes, 32);
    return out.failed() || root.failed() ? 0 : rsdp;
}

} // namespace horos::vmm
