// An image with one case in it, which runs it and says what differs.
#include "harness.hpp"

namespace horos::harness {

namespace {

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

} // namespace

// A standalone image: build the arena, run the one case, compare, say so, end.
void run_embedded() {
    if (embedded.magic != wire::EMBEDDED_CASE)
        return;
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

} // namespace horos::harness
