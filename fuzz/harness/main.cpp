// The harness: takes cases from shared memory, runs each, hands back what changed.
// GIF is 0 from start to end (as it is after every #VMEXIT), except while idle and where a case
// asks for host events.
#include "harness.hpp"
#include "layout.hpp"

using namespace horos::harness;

extern "C" {
void run_plain();
void bare_loop(uint64_t vmcb, uint64_t count);

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

namespace {

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

} // namespace

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
