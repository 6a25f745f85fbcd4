#include "fake_vmx.hpp"
#include <stdexcept>

// The fields' encodings have 15 bits; a VMCS of the tests is a value for each.
namespace horos::test {

FakeVmx fake_vmx;

FakeVmcs& FakeVmx::current() {
    if (loaded == 0)
        throw std::logic_error("no VMCS is current");
    return vmcss[loaded];
}

} // namespace horos::test

namespace horos::core {

using test::fake_vmx;

extern "C" {

const u8 vmx_exit_point[1] = {};

u32 vmx_on(u64) { return 0; }
u32 vmx_off() {
    ++fake_vmx.offs;
    return fake_vmx.off_fails;
}
u32 vmx_clear(u64 vmcs) {
    fake_vmx.vmcss[vmcs].launched = false;
    if (fake_vmx.loaded == vmcs)
        fake_vmx.loaded = 0;
    return 0;
}
u32 vmx_load(u64 vmcs) {
    fake_vmx.loaded = vmcs;
    return 0;
}
u32 vmx_invept(u64 type, u64 eptp) {
    fake_vmx.flushed.emplace_back(type, eptp);
    return 0;
}
u32 vmx_invvpid(u64 type, u64 vpid) {
    fake_vmx.flushed.emplace_back(type | 0x100, vpid);
    return 0;
}
u64 vmx_read(u32 field) {
    const auto& fields = fake_vmx.current().fields;
    const auto found = fields.find(field);
    if (found == fields.end())
        throw std::logic_error("VMREAD of a field that nobody has written: " +
                               std::to_string(field));
    return found->second;
}
void vmx_write(u32 field, u64 value) {
    fake_vmx.current().fields[field] = value;
    ++fake_vmx.writes;
}
u32 vmx_run(u64* registers, u32) { return fake_vmx.guest ? fake_vmx.guest(registers) : 1; }

} // extern "C"

} // namespace horos::core
