// VMX without a processor: the privileged steps of kernel/vmx/vmcs.S on a map of fields.
#pragma once
#include "kernel/vmx/vmx.hpp"
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace horos::test {

using namespace horos::core;

struct FakeVmcs {
    std::map<u32, u64> fields; // by encoding
    bool launched = false;
    bool operator==(const FakeVmcs&) const = default;
};

struct FakeVmx {
    std::map<u64, FakeVmcs> vmcss; // by physical address
    u64 loaded = 0;
    unsigned writes = 0;
    unsigned offs = 0; // VMXOFF was executed
    u32 off_fails = 0;
    std::vector<std::pair<u64, u64>> flushed;
    std::function<u32(u64* registers)> guest; // one entry: 0, or how it failed
    FakeVmcs& current();
    void reset() { *this = FakeVmx{}; }
};
extern FakeVmx fake_vmx;

} // namespace horos::test
