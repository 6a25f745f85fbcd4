#include "fake_host.hpp"

namespace horos::vmm::fake {

Host& host() {
    static Host instance;
    return instance;
}
void reset() { host() = Host{}; }

} // namespace horos::vmm::fake

namespace horos::vmm::host {

Ticks now() { return fake::host().now; }

RunResult run(u32) {
    auto& script = fake::host().script;
    if (script.empty())
        throw std::logic_error("the guest was entered more often than the test says");
    const auto entry = script.front();
    script.pop_front();
    return {.ok = true, .reason = entry()};
}

u64 wait(Ticks deadline) {
    fake::host().waits.push_back(deadline);
    if (deadline != never && deadline > fake::host().now)
        fake::host().now = deadline;
    return 0;
}

void wake(u32 vcpu) { fake::host().woken.push_back(vcpu); }

void show_apic_page(bool shown) { fake::host().apic_pages.push_back(shown); }

u32 console_write(const u8* bytes, u32 count) {
    auto& host = fake::host();
    const u32 taken = count < host.console_room ? count : host.console_room;
    host.console.append(reinterpret_cast<const char*>(bytes), taken);
    if (host.console_room != ~u32{0})
        host.console_room -= taken;
    return taken;
}

u32 console_read(u8* bytes, u32 count) {
    auto& keyboard = fake::host().keyboard;
    const u32 taken = count < keyboard.size() ? count : static_cast<u32>(keyboard.size());
    for (u32 i = 0; i < taken; ++i)
        bytes[i] = static_cast<u8>(keyboard[i]);
    keyboard.erase(0, taken);
    return taken;
}

void heartbeat() {}
void relax() {}
void stop(const Report& report) { throw fake::Stopped(report); }

} // namespace horos::vmm::host
