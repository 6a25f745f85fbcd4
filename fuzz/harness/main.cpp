// The harness: takes cases from shared memory, runs each, hands back what changed.
// GIF is 0 from start to end (as it is after every #VMEXIT), except while idle and where a case
// asks for host events.
#include "console.hpp"
#include "cpu.hpp"
#include "disarm.hpp"
#include "horos/fuzz/ring.hpp"

#include <cstddef>
#include <cstdint>

namespace wire = horos::fuzz::wire;
using namespace horos::harness;

extern "C" {
void run_plain();
void run_guest(wire::RingSlot*);
void run_guest_user(wire::RingSlot*);
void bare_loop(uint64_t vmcb, uint64_t count);
bool try_wrmsr(uint32_t msr, uint64_t value);
extern const char vectors[], run_vmrun[], user_vmrun[];
extern uint64_t gdt_tss[2];
extern const char gdt_pointer64[];

// The compiler may ask for these.
void* memcpy(void* to, const void* from, size_t size) {
    auto* bytes = static_cast<uint8_t*>(to);
    auto* source = static_cast<const uint8_t*>(from);
    asm volatile("rep movsb" : "+D"(bytes), "+S"(source), "+c"(size)::"memory");
    return to;
}
int memcmp(const void* a, const void* b, size_t size) {
    auto* x = static_cast<const uint8_t*>(a);
    auto* y = static_cast<const uint8_t*>(b);
    for (size_t i = 0; i < size; ++i)
        if (x[i] != y[i])
            return x[i] < y[i] ? -1 : 1;
    return 0;
}
}

// What run.S believes.
static_assert(wire::RING_PA == 0x300000 && wire::MAILBOX_PA == 0x200000 && wire::SLOTS == 256);
static_assert(offsetof(wire::Mailbox, baseline) == 16 && offsetof(wire::Mailbox, window) == 152 &&
              offsetof(wire::Mailbox, windowTemplate) == 344 && sizeof(wire::Window) == 16 &&
              offsetof(wire::Mailbox, produced) == 1184 &&
              offsetof(wire::Mailbox, consumed) == 1192 && offsetof(wire::Mailbox, slot) == 1200 &&
              offsetof(wire::Mailbox, rsp) == 1208 && offsetof(wire::Mailbox, rspAfter) == 1216 &&
              offsetof(wire::Mailbox, rax) == 1224 && offsetof(wire::Mailbox, rflags) == 1232 &&
              offsetof(wire::Mailbox, vector) == 1240 && offsetof(wire::Mailbox, error) == 1248 &&
              offsetof(wire::Mailbox, faultRip) == 1256 && offsetof(wire::Mailbox, nmis) == 1264 &&
              offsetof(wire::Mailbox, intrs) == 1268 && offsetof(wire::Mailbox, left) == 1272 &&
              offsetof(wire::Mailbox, table) == 1280);
static_assert(offsetof(wire::RingSlot, id) == 0x700 && offsetof(wire::RingSlot, done) == 0x708 &&
              offsetof(wire::RingSlot, flags) == 0x710 &&
              offsetof(wire::RingSlot, windows) == 0x714 &&
              offsetof(wire::RingSlot, install) == 0x718 &&
              offsetof(wire::RingSlot, codeQwords) == 0x71c &&
              offsetof(wire::RingSlot, codeAddress) == 0x720 &&
              offsetof(wire::RingSlot, rax) == 0x730 && offsetof(wire::RingSlot, status) == 0x740 &&
              offsetof(wire::RingSlot, error) == 0x748 && offsetof(wire::RingSlot, rip) == 0x750 &&
              offsetof(wire::RingSlot, nmis) == 0x758 && offsetof(wire::RingSlot, early) == 0x760 &&
              offsetof(wire::RingSlot, hostDiffers) == 0x764 &&
              offsetof(wire::RingSlot, gpr) == 0x768 && offsetof(wire::RingSlot, host) == 0x808 &&
              offsetof(wire::RingSlot, code) == 0x890 && offsetof(wire::RingSlot, window) == 0x910);
static_assert(wire::PLAIN == 0x80000000 && wire::FRESH_CODE == 1);
static_assert(wire::H_CR8 == 4 && wire::H_RFLAGS == 6 && wire::H_IDTR_LIMIT == 12 &&
              wire::H_HSAVE_PA == 15);

namespace {

constexpr uint32_t MSR_EFER = 0xc0000080, MSR_TSC_AUX = 0xc0000103, MSR_HSAVE = 0xc0010117;
constexpr uint64_t EFER_SVME = 1 << 12;
constexpr uint64_t APIC = 0xfee00000;
constexpr unsigned SAVE_DR7 = 0x160 / 8; // in the VMCB's save area

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
uint64_t efer;

wire::Mailbox& mailbox() { return *reinterpret_cast<wire::Mailbox*>(wire::MAILBOX_PA); }
template <typename T>
T* at(uint64_t pa) {
    return reinterpret_cast<T*>(pa);
}

void apic_write(uint32_t reg, uint32_t value) { *at<volatile uint32_t>(APIC + reg) = value; }
uint32_t apic_read(uint32_t reg) { return *at<volatile uint32_t>(APIC + reg); }

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

// What a leak could have broken is put right, so that one case's damage stays its own.
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

void install(wire::RingSlot& c) {
    for (uint32_t left = c.install; left; left &= left - 1) {
        const wire::Window& w = mailbox().window[__builtin_ctz(left)];
        copy_qwords(at<void>(w.address), c.window + w.offset, w.qwords);
    }
    for (uint32_t i = 0; i < c.patches; ++i) {
        uint64_t& word = *at<uint64_t>(c.patch[i].address);
        const uint64_t before = word;
        word = c.patch[i].value;
        c.patch[i].value = before;
    }
    if (c.flags & wire::FRESH_CODE)
        copy_qwords(at<void>(c.codeAddress), c.code, c.codeQwords);
    if (c.flags & wire::DEBUG_REGS)
        for (unsigned i = 0; i < 4; ++i)
            write_dr(i, c.dr[i]);
}

void self_interrupt(uint32_t low) {
    apic_write(0x310, apic_read(0x20) & 0xff000000); // to this processor
    apic_write(0x300, low);
    while (apic_read(0x300) & 0x1000) {
    }
}

// Host state that the case asks for. False: an MSR write was refused (recorded as #GP).
bool prepare_host(const wire::RingSlot& c) {
    if (c.flags & wire::SET_HSAVE && !try_wrmsr(MSR_HSAVE, c.hsave))
        return false;
    if (c.flags & wire::NO_SVME)
        wrmsr(MSR_EFER, efer & ~EFER_SVME);
    if (c.flags & wire::PEND_NMI)
        self_interrupt(0x4400);
    if (c.flags & wire::PEND_INTR)
        self_interrupt(0x4000 | wire::INTR_VECTOR);
    if (c.flags & wire::HOST_IF)
        asm volatile("sti; nop");
    return true;
}

void collect(wire::RingSlot& c) {
    read_host(c.host);
    c.hostDiffers = 1;
    mend_host(c.host);
    for (uint32_t left = c.windows; left; left &= left - 1) {
        const wire::Window& w = mailbox().window[__builtin_ctz(left)];
        copy_qwords(c.window + w.offset, at<void>(w.address), w.qwords);
        copy_qwords(at<void>(w.address), mailbox().windowTemplate + w.offset, w.qwords);
    }
    for (uint32_t i = c.patches; i-- > 0;)
        *at<uint64_t>(c.patch[i].address) = c.patch[i].value;
    if (c.flags & wire::DEBUG_REGS) {
        c.dr[0] = read_dr0();
        c.dr[1] = read_dr1();
        c.dr[2] = read_dr2();
        c.dr[3] = read_dr3();
        for (unsigned i = 0; i < 4; ++i)
            write_dr(i, 0);
    }
}

// After the case: what came in although GIF was 0, and what was still pending.
void settle_events(wire::RingSlot& c, bool injectedNmi) {
    wire::Mailbox& box = mailbox();
    c.early = box.nmis + box.intrs;
    if (injectedNmi || c.flags & wire::PEND_NMI)
        iret_to_next(); // NMIs may still be masked for one that the guest got and no IRET ended
    if (c.flags & wire::PEND_INTR)
        apic_write(0xb0, 0); // a guest that got the interrupt did not tell the APIC of its end
    if (c.flags & (wire::PEND_NMI | wire::PEND_INTR)) {
        stgi();
        asm volatile("sti; nop; nop; nop; cli");
        clgi();
    }
    c.nmis = box.nmis;
    c.intrs = box.intrs;
}

// The general form of what run_plain does, with all that a case may ask for. The VMCB is the case.
void run_case(wire::RingSlot& c) {
    wire::Mailbox& box = mailbox();
    const uint64_t vmcb = reinterpret_cast<uint64_t>(&c);
    constexpr uint64_t INJECTS_NMI = 2;
    const bool injectsNmi = (c.control[0xa8 / 8] >> 8 & 7) == INJECTS_NMI;
    install(c);
    box.vector = ~0ull;
    box.nmis = 0;
    box.intrs = 0;
    if (c.flags & wire::VMLOAD)
        vmload(vmcb);
    const bool prepared = prepare_host(c);
    if (!prepared) {
        box.vector = 13;
        box.faultRip = 0;
    } else if (c.flags & wire::USER_MODE) {
        vmload(wire::HOST_STATE_PA); // the ring 0 stack comes from our own TSS
        run_guest_user(&c);
        vmload(wire::BASE_STATE_PA);
    } else {
        run_guest(&c);
    }
    if (c.flags & wire::HOST_IF)
        asm volatile("cli");
    if (c.flags & wire::NO_SVME)
        wrmsr(MSR_EFER, efer);
    if (c.flags & wire::VMLOAD) {
        vmsave(vmcb);
        vmload(wire::BASE_STATE_PA);
        wrmsr(MSR_TSC_AUX, 0); // the one such register that VMLOAD leaves alone
    }
    collect(c);
    c.status = box.vector == ~0ull ? wire::Status::Exit : wire::Status::Exception;
    c.vector = 0;
    c.error = c.rip = 0;
    if (c.status == wire::Status::Exception) {
        c.vector = uint32_t(box.vector);
        c.error = box.error;
        // relative to the instruction, so that it does not change with each build of the harness
        uint64_t vmrun =
            reinterpret_cast<uint64_t>(c.flags & wire::USER_MODE ? user_vmrun : run_vmrun);
        c.rip = prepared ? box.faultRip - vmrun : 0;
        box.vector = ~0ull;
    }
    settle_events(c, injectsNmi);
    if (c.flags & wire::DEBUG_REGS && c.save[SAVE_DR7] & DR7_ENABLES)
        disarm_breakpoints(c.save[SAVE_DR7], box.baseline);
    asm volatile("" ::: "memory");
    c.done = c.id;
}

[[gnu::noinline]] void idle() {
    apic_write(0x380, 100000); // a tenth of a millisecond on QEMU
    stgi();
    asm volatile("sti; hlt; cli");
    clgi();
}

void run_command(wire::Mailbox& box) {
    switch (wire::Command(box.command)) {
    case wire::Command::BareLoop:
        install(*at<wire::RingSlot>(wire::RING_PA));
        bare_loop(wire::RING_PA, box.argument);
        break;
    case wire::Command::LoadBase:
        vmload(wire::BASE_STATE_PA);
        break;
    default:
        break;
    }
    box.commandDone = box.commandSeq;
}

[[noreturn]] void serve() {
    wire::Mailbox& box = mailbox();
    unsigned quiet = 0;
    for (;;) {
        const uint64_t before = box.consumed;
        run_plain();
        if (box.produced != box.consumed) {
            run_case(*at<wire::RingSlot>(wire::ringAddress(box.consumed)));
            box.consumed = box.consumed + 1;
        } else if (box.commandSeq != box.commandDone) {
            run_command(box);
        } else if (box.consumed == before) {
            if (++quiet > 2000)
                idle();
            else
                asm volatile("pause");
            continue;
        }
        quiet = 0;
    }
}

// What #VMEXIT restores whatever the guest did (APM vol. 2 §15.6); CR8 and DR6 may be the guest's.
bool host_restored(const wire::ResultSlot& r) {
    constexpr wire::HostReg RESTORED[] = {wire::H_CR0,        wire::H_CR3,       wire::H_CR4,
                                          wire::H_EFER,       wire::H_DR7,       wire::H_GDTR_BASE,
                                          wire::H_GDTR_LIMIT, wire::H_IDTR_BASE, wire::H_IDTR_LIMIT,
                                          wire::H_SELECTORS,  wire::H_RSP_DELTA};
    bool good = true;
    for (wire::HostReg reg : RESTORED) {
        if (r.host[reg] == mailbox().baseline[reg])
            continue;
        good = false;
        print("differs: host state ");
        print_hex(reg);
        print(" expected ");
        print_hex(mailbox().baseline[reg]);
        print(" got ");
        print_hex(r.host[reg]);
        print("\n");
    }
    return good;
}

[[gnu::section(".embedded"), gnu::used]] wire::Embedded embedded = {.magic = wire::EMBEDDED_EMPTY};

// A standalone image: build the arena, run the one case, compare, say so, end.
[[noreturn]] void run_embedded() {
    wire::Mailbox& box = mailbox();
    for (uint32_t i = 0; i < embedded.arenaRuns; ++i)
        for (uint64_t k = 0; k < embedded.arena[i].count; ++k)
            *at<uint64_t>(embedded.arena[i].address + 8 * k) = embedded.arena[i].value;
    copy_qwords(box.window, embedded.window, sizeof embedded.window / 8);
    copy_qwords(box.windowTemplate, embedded.windowTemplate, wire::WINDOW_QWORDS);
    copy_qwords(at<uint8_t>(wire::BASE_STATE_PA) + wire::SAVE_OFFSET, embedded.baseState,
                wire::SAVE_QWORDS);
    vmload(wire::BASE_STATE_PA);
    static wire::ResultSlot result;
    wire::RingSlot& slot = *at<wire::RingSlot>(wire::RING_PA);
    wire::pack(embedded.slot, wire::RING_PA, box.window, box.windowTemplate, slot);
    print("case: ");
    print(embedded.title);
    print("\n");
    run_case(slot);
    wire::unpack(slot, wire::RING_PA, box.window, box.baseline, result);
    print(result.status == wire::Status::Exit ? "exit " : "host exception ");
    print_hex(result.status == wire::Status::Exit ? result.control[0x70 / 8] : result.vector);
    print("\n");
    bool good = result.status != wire::Status::Exit || host_restored(result);
    for (uint32_t i = 0; i < embedded.expectations; ++i) {
        const wire::Expectation& e = embedded.expectation[i];
        uint64_t got = *reinterpret_cast<const uint64_t*>(
                           reinterpret_cast<const uint8_t*>(&result) + e.offset) &
                       e.mask;
        if (got == e.value)
            continue;
        good = false;
        print("differs: ");
        print(e.name);
        print(" expected ");
        print_hex(e.value);
        print(" got ");
        print_hex(got);
        print("\n");
    }
    print(good ? "VERDICT agrees with the model\n" : "VERDICT diverges from the model\n");
    end_run(good);
}

} // namespace

// The host is not as it should be: says so in full, and puts it right.
extern "C" void report_host(wire::RingSlot* c) {
    read_host(c->host);
    c->hostDiffers = 1;
    mend_host(c->host);
}

extern "C" [[noreturn]] void harness_fault(const uint64_t* frame) {
    print("harness: host exception ");
    print_hex(frame[0]);
    print(" error ");
    print_hex(frame[1]);
    print(" at ");
    print_hex(frame[2]);
    print(" cr2 ");
    print_hex(read_cr2());
    print("\n");
    end_run(false);
}

extern "C" void harness_main() {
    load_tables();
    outb(0x21, 0xff); // no interrupts from the old controllers
    outb(0xa1, 0xff);
    efer = rdmsr(MSR_EFER);
    wrmsr(MSR_HSAVE, wire::HSAVE_PA);
    apic_write(0xf0, 0x1ff);
    apic_write(0x3e0, 0xb);               // timer: divide by one
    apic_write(0x320, wire::IDLE_VECTOR); // one-shot
    apic_write(0x350, 0x10000);           // LINT0, LINT1 off
    apic_write(0x360, 0x10000);
    clgi();
    vmsave(wire::HOST_STATE_PA);

    wire::Mailbox& box = mailbox();
    box.version = wire::VERSION;
    box.slots = wire::SLOTS;
    box.rflags = 2;
    box.rsp = box.rspAfter = 0;
    box.vector = ~0ull;
    read_host(box.baseline);
    box.produced = 0;
    box.consumed = 0;
    box.commandSeq = 0;
    box.commandDone = 0;
    if (embedded.magic == wire::EMBEDDED_CASE)
        run_embedded();
    // Touch every page that the fuzzer looks for, each with its own address in it.
    for (uint64_t pa = wire::RING_PA; pa < wire::RING_END; pa += 4096) {
        at<uint64_t>(pa)[0] = wire::MAGIC;
        at<uint64_t>(pa)[1] = pa;
    }
    for (uint64_t pa = wire::ARENA_PA; pa < wire::ARENA_PA + wire::ARENA_SIZE; pa += 4096) {
        at<uint64_t>(pa)[0] = wire::MAGIC;
        at<uint64_t>(pa)[1] = pa;
    }
    at<uint64_t>(wire::BASE_STATE_PA)[0] = wire::MAGIC;
    at<uint64_t>(wire::BASE_STATE_PA)[1] = wire::BASE_STATE_PA;
    asm volatile("" ::: "memory");
    box.magic = wire::MAGIC;
    print(wire::READY);
    serve();
}
