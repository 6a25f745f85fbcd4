// The host's own tables, and its state: as it is, and put right.
#include "harness.hpp"

extern "C" {
extern const char vectors[];
extern uint64_t gdt_tss[2];
extern const char gdt_pointer64[];
}

namespace horos::harness {

namespace {

struct [[gnu::packed]] TablePointer {
    uint16_t limit;
    uint64_t base;
};

struct Gate {
    uint16_t low;
    uint16_t selector;
    uint16_t type;
    uint16_t middle;
    uint32_t high;
    uint32_t zero;
};

Gate idt[256];
struct [[gnu::packed]] {
    uint32_t reserved;
    uint64_t rsp[3];
    uint64_t ist[8];
    uint64_t tail;
    uint16_t tail2;
    uint16_t iomap;
} tss;
alignas(16) uint8_t ring0Stack[4096];

} // namespace

void load_tables() {
    for (int i = 0; i < 256; ++i) {
        uint64_t entry = reinterpret_cast<uint64_t>(vectors) + 16u * unsigned(i);
        idt[i] = {uint16_t(entry), 8, 0x8e00, uint16_t(entry >> 16), uint32_t(entry >> 32), 0};
    }
    TablePointer pointer{sizeof idt - 1, reinterpret_cast<uint64_t>(idt)};
    asm volatile("lidt %0" ::"m"(pointer));
    tss.rsp[0] = reinterpret_cast<uint64_t>(ring0Stack + sizeof ring0Stack);
    tss.iomap = sizeof tss;
    uint64_t base = reinterpret_cast<uint64_t>(&tss);
    gdt_tss[0] =
        (sizeof tss - 1) | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56;
    gdt_tss[1] = base >> 32;
    asm volatile("lgdt %0" ::"m"(*reinterpret_cast<const TablePointer*>(gdt_pointer64)));
    asm volatile("ltr %w0" ::"r"(0x28));
}

void read_host(uint64_t (&host)[wire::H_COUNT]) {
    TablePointer table;
    host[wire::H_CR0] = read_cr0();
    host[wire::H_CR2] = read_cr2();
    host[wire::H_CR3] = read_cr3();
    host[wire::H_CR4] = read_cr4();
    host[wire::H_CR8] = read_cr8();
    host[wire::H_EFER] = rdmsr(MSR_EFER);
    host[wire::H_RFLAGS] = mailbox().rflags;
    host[wire::H_DR6] = read_dr6();
    host[wire::H_DR7] = read_dr7();
    asm volatile("sgdt %0" : "=m"(table));
    host[wire::H_GDTR_BASE] = table.base;
    host[wire::H_GDTR_LIMIT] = table.limit;
    asm volatile("sidt %0" : "=m"(table));
    host[wire::H_IDTR_BASE] = table.base;
    host[wire::H_IDTR_LIMIT] = table.limit;
    uint16_t cs, ss, ds, es, tr, ldtr;
    asm volatile("mov %%cs, %0; mov %%ss, %1; mov %%ds, %2; mov %%es, %3; str %4; sldt %5"
                 : "=m"(cs), "=m"(ss), "=m"(ds), "=m"(es), "=m"(tr), "=m"(ldtr));
    host[wire::H_SELECTORS] = cs | uint64_t{ss} << 16 | uint64_t{ds} << 32 | uint64_t{es} << 48;
    host[wire::H_TR_LDTR] = tr | uint64_t{ldtr} << 16;
    host[wire::H_HSAVE_PA] = rdmsr(MSR_HSAVE);
    host[wire::H_RSP_DELTA] = mailbox().rspAfter - mailbox().rsp;
}

void mend_host(const uint64_t (&found)[wire::H_COUNT]) {
    const auto& good = mailbox().baseline;
    if (found[wire::H_DR7] != good[wire::H_DR7])
        write_dr(7, good[wire::H_DR7]);
    if (found[wire::H_DR6] != good[wire::H_DR6])
        write_dr(6, good[wire::H_DR6]);
    if (found[wire::H_CR0] != good[wire::H_CR0])
        asm volatile("mov %0, %%cr0" ::"r"(good[wire::H_CR0]));
    if (found[wire::H_CR3] != good[wire::H_CR3])
        asm volatile("mov %0, %%cr3" ::"r"(good[wire::H_CR3]));
    if (found[wire::H_CR4] != good[wire::H_CR4])
        asm volatile("mov %0, %%cr4" ::"r"(good[wire::H_CR4]));
    if (found[wire::H_CR8] != good[wire::H_CR8])
        asm volatile("mov %0, %%cr8" ::"r"(good[wire::H_CR8]));
    if (found[wire::H_EFER] != good[wire::H_EFER])
        wrmsr(MSR_EFER, good[wire::H_EFER]);
    if (found[wire::H_HSAVE_PA] != good[wire::H_HSAVE_PA])
        wrmsr(MSR_HSAVE, good[wire::H_HSAVE_PA]);
    if (found[wire::H_GDTR_BASE] != good[wire::H_GDTR_BASE] ||
        found[wire::H_IDTR_BASE] != good[wire::H_IDTR_BASE] ||
        found[wire::H_GDTR_LIMIT] != good[wire::H_GDTR_LIMIT] ||
        found[wire::H_IDTR_LIMIT] != good[wire::H_IDTR_LIMIT]) {
        TablePointer gdtr{uint16_t(good[wire::H_GDTR_LIMIT]), good[wire::H_GDTR_BASE]};
        TablePointer idtr{uint16_t(good[wire::H_IDTR_LIMIT]), good[wire::H_IDTR_BASE]};
        asm volatile("lgdt %0; lidt %1" ::"m"(gdtr), "m"(idtr));
    }
}

} // namespace horos::harness

// The host is not as it should be: says so in full, and puts it right.
extern "C" void report_host(horos::fuzz::wire::RingSlot* c) {
    using namespace horos::harness;
    read_host(c->host);
    c->hostDiffers = 1;
    mend_host(c->host);
}
