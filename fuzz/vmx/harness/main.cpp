// The VMX harness: takes cases from the shared block, writes the whole VMCS, enters, reads it back.
#include "../wire.hpp"

#include <stddef.h>

using namespace horos::fuzz::vmx;

extern "C" uint32_t vmx_enter(uint32_t flags);
extern "C" char vm_exit[], fault_entries[], exit_stack_top[], gdt[], gdt_tss[];
extern "C" void* memset(void* to, int value, size_t size) {
    auto* bytes = static_cast<uint8_t*>(to);
    for (size_t i = 0; i < size; ++i) {
        bytes[i] = static_cast<uint8_t>(value);
    }
    return to;
}

namespace {

struct [[gnu::packed]] Pointer {
    uint16_t limit;
    uint64_t base;
};
alignas(16) uint64_t idt[64];
alignas(16) uint8_t tss[104];

uint64_t rdmsr(uint32_t number) {
    uint32_t low, high;
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(number));
    return uint64_t{high} << 32 | low;
}
void wrmsr(uint32_t number, uint64_t value) {
    asm volatile("wrmsr" ::"c"(number), "a"(uint32_t(value)), "d"(uint32_t(value >> 32)));
}
bool vmxon(uint64_t pa) {
    bool failed;
    asm volatile("vmxon %1; setbe %0" : "=qm"(failed) : "m"(pa) : "cc", "memory");
    return !failed;
}
bool vmclear(uint64_t pa) {
    bool failed;
    asm volatile("vmclear %1; setbe %0" : "=qm"(failed) : "m"(pa) : "cc", "memory");
    return !failed;
}
bool vmptrld(uint64_t pa) {
    bool failed;
    asm volatile("vmptrld %1; setbe %0" : "=qm"(failed) : "m"(pa) : "cc", "memory");
    return !failed;
}
bool vmwrite(uint64_t field, uint64_t value) {
    bool failed;
    asm volatile("vmwrite %2, %1; setbe %0" : "=qm"(failed) : "r"(field), "r"(value) : "cc");
    return !failed;
}
bool vmread(uint64_t field, uint64_t& value) {
    bool failed;
    asm volatile("vmread %2, %1; setbe %0" : "=qm"(failed), "=r"(value) : "r"(field) : "cc");
    return !failed;
}

Mailbox& mailbox() { return *reinterpret_cast<Mailbox*>(SHARED_PA); }
Slot& slot(unsigned n) { return *reinterpret_cast<Slot*>(SHARED_PA + 4096 + n * 4096ull); }
uint64_t* qwords(uint64_t pa) { return reinterpret_cast<uint64_t*>(pa); }
uint32_t* dwords(uint64_t pa) { return reinterpret_cast<uint32_t*>(pa); }

void set_up_descriptors() {
    const auto base = reinterpret_cast<uint64_t>(tss);
    auto* entry = reinterpret_cast<uint64_t*>(gdt_tss);
    entry[0] = 103 | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56;
    entry[1] = base >> 32;
    asm volatile("ltr %w0" ::"r"(0x18));
    for (unsigned vector = 0; vector < 32; ++vector) {
        const uint64_t handler = reinterpret_cast<uint64_t>(fault_entries) + vector * 16ull;
        idt[vector * 2] =
            (handler & 0xffff) | 0x08ull << 16 | 0x8e00ull << 32 | (handler >> 16 & 0xffff) << 48;
        idt[vector * 2 + 1] = handler >> 32;
    }
    const Pointer pointer{sizeof idt - 1, reinterpret_cast<uint64_t>(idt)};
    asm volatile("lidt %0" ::"m"(pointer));
}

// Identity maps of the first 4 GiB; the guest may read and run, not write.
void set_up_memory() {
    memset(reinterpret_cast<void*>(VMXON_PA), 0, 0x20000);
    qwords(EPT_PML4_PA)[0] = EPT_PDPT_PA | 7;
    qwords(GUEST_PML4_PA)[0] = GUEST_PDPT_PA | 0x27;
    for (uint64_t n = 0; n < 4; ++n) {
        qwords(EPT_PDPT_PA)[n] = n << 30 | 0x80 | 6 << 3 | 5;
        qwords(GUEST_PDPT_PA)[n] = n << 30 | 0xe7;
    }
    for (uint64_t n = 0; n < 1024; ++n) {
        dwords(GUEST_PD32_PA)[n] = uint32_t(n << 22 | 0xe7);
    }
    for (uint64_t n = 0; n < MSR_ENTRIES; ++n) { // IA32_SYSENTER_CS
        qwords(MSR_LIST_PA)[n * 2] = 0x174;
        qwords(MSR_STORE_PA)[n * 2] = 0x174;
    }
    auto* code = reinterpret_cast<uint8_t*>(CODE_PA);
    for (unsigned n = 0; n < 4096; n += 3) { // VMCALL all over
        code[n] = 0x0f;
        code[n + 1] = 0x01;
        code[n + 2] = 0xc1;
    }
}

bool set_up_vmx() {
    wrmsr(0x3a, 5);
    const auto revision = uint32_t(rdmsr(0x480));
    constexpr uint64_t REGIONS[] = {VMXON_PA, VMCS_CLEAR_PA, VMCS_LAUNCHED_PA};
    for (const uint64_t pa : REGIONS) {
        *dwords(pa) = revision;
    }
    return vmxon(VMXON_PA) && vmclear(VMCS_CLEAR_PA) && vmclear(VMCS_LAUNCHED_PA);
}

HostValues host_values() {
    HostValues h{};
    h.rip = reinterpret_cast<uint64_t>(vm_exit);
    h.rsp = reinterpret_cast<uint64_t>(exit_stack_top);
    asm volatile("mov %%cr0, %0" : "=r"(h.cr0));
    asm volatile("mov %%cr3, %0" : "=r"(h.cr3));
    asm volatile("mov %%cr4, %0" : "=r"(h.cr4));
    h.efer = rdmsr(0xc0000080);
    Pointer pointer{};
    asm volatile("sgdt %0" : "=m"(pointer));
    h.gdtr = pointer.base;
    asm volatile("sidt %0" : "=m"(pointer));
    h.idtr = pointer.base;
    h.tr_base = reinterpret_cast<uint64_t>(tss);
    return h;
}
// Which of the host's values differ from what they were.
uint32_t changed(const HostValues& then, const HostValues& now) {
    const auto* a = reinterpret_cast<const uint64_t*>(&then);
    const auto* b = reinterpret_cast<const uint64_t*>(&now);
    uint32_t bits = 0;
    for (unsigned n = 0; n < sizeof(HostValues) / 8; ++n) {
        bits |= uint32_t{a[n] != b[n]} << n;
    }
    return bits;
}
// An exit leaves the limits at FFFFh; the bases come from the VMCS.
void reload_tables(const HostValues& host) {
    const Pointer g{39, host.gdtr};
    const Pointer i{sizeof idt - 1, host.idtr};
    asm volatile("lgdt %0; lidt %1" ::"m"(g), "m"(i));
}

bool write_all(const Case& test, Result& result) {
    const Mailbox& box = mailbox();
    for (unsigned n = 0; n < box.write_count; ++n) {
        if (!vmwrite(box.write_list[n], test.value[box.write_slot[n]])) {
            result.outcome = WRITE_FAILED;
            result.bad_encoding = box.write_list[n];
            return false;
        }
    }
    return true;
}
void read_all(Result& result) {
    const Mailbox& box = mailbox();
    for (unsigned n = 0; n < box.read_count; ++n) {
        if (!vmread(box.read_list[n], result.value[box.read_slot[n]])) {
            result.bad_encoding = box.read_list[n];
        }
    }
}
// Which encodings can be read at all: 1 in `value`, at their place in the list.
void probe(Result& result) {
    const Mailbox& box = mailbox();
    vmptrld(VMCS_CLEAR_PA);
    for (unsigned n = 0; n < box.read_count; ++n) {
        uint64_t ignored;
        result.value[n] = vmread(box.read_list[n], ignored) ? 1 : 0;
    }
    result.outcome = EXITED;
}

void run(const Case& test, Result& result) {
    result.bad_encoding = 0;
    result.error = 0;
    if ((test.flags & FLAG_PROBE) != 0) {
        probe(result);
        return;
    }
    const HostValues before = host_values();
    const uint64_t pa = (test.flags & FLAG_LAUNCHED) != 0 ? VMCS_LAUNCHED_PA : VMCS_CLEAR_PA;
    if ((test.flags & FLAG_LAUNCHED) == 0) {
        vmclear(pa);
    }
    vmptrld(pa);
    if (!write_all(test, result)) {
        return;
    }
    for (unsigned n = 0; n < 4; ++n) {
        qwords(PAE_PDPT_PA)[n] = test.pdpte[n];
    }
    *dwords(LINK_PA) = test.link_revision;
    *reinterpret_cast<uint8_t*>(VAPIC_PA + 0x80) = uint8_t(test.vtpr);
    if ((test.flags & FLAG_NO_VMCS) != 0) {
        vmclear(pa);
    }
    if ((test.flags & FLAG_SHADOW) != 0) {
        vmclear(pa);
        *dwords(pa) |= 0x80000000u;
        vmptrld(pa);
    }
    if ((test.flags & FLAG_VMXOFF) != 0) {
        asm volatile("vmxoff" ::: "memory", "cc");
    }
    result.outcome = vmx_enter(test.flags);
    if ((test.flags & FLAG_VMXOFF) != 0) {
        vmxon(VMXON_PA);
        vmptrld(pa);
    }
    if (result.outcome == EXITED) {
        reload_tables(before);
        read_all(result);
    } else if (result.outcome == FAIL_VALID) {
        uint64_t error = 0;
        vmread(0x4400, error);
        result.error = uint32_t(error);
    }
    if ((test.flags & FLAG_SHADOW) != 0) {
        vmclear(pa);
        *dwords(pa) &= 0x7fffffffu;
    }
    result.host_changed = changed(before, host_values());
}

} // namespace

extern "C" void harness_main() {
    set_up_descriptors();
    set_up_memory();
    Mailbox& box = mailbox();
    memset(&box, 0, 4096);
    const bool works = set_up_vmx();
    box.host = host_values();
    box.self = SHARED_PA;
    box.magic = MAGIC;
    box.ready = works ? 1 : 2;
    for (;;) {
        while (box.command == IDLE) {
            asm volatile("" ::: "memory");
        }
        for (unsigned n = 0; n < box.count; ++n) {
            box.current = n;
            run(slot(n).test, slot(n).result);
        }
        asm volatile("" ::: "memory");
        box.command = IDLE;
    }
}
