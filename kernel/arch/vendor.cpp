#include "vendor.hpp"
#include "io.hpp"
#include "kernel/svm/svm.hpp"
#include "kernel/vmx/vmx.hpp"
#include <horos/defs/x86.hpp>

namespace horos::arch {

Complaint vendor_choose() {
    namespace id = x86::cpuid;
    constexpr u32 vmx_bit = 1u << 5; // CPUID 1 ECX (SDM vol. 3C §23.6)
    const bool svm = (cpuid(id::LEAF_EXT_FEATURES).ecx & id::E1_ECX_SVM) != 0;
    if (!svm && (cpuid(id::LEAF_FEATURES).ecx & vmx_bit) == 0)
        return "this processor lacks SVM (AMD virtualisation) and VMX (Intel's)";
    core::machine.vendor = svm ? core::Vendor::svm : core::Vendor::vmx;
    return svm ? core::svm_missing() : core::vmx_missing();
}

abi::Vendor vendor_name() { return core::uses_vmx() ? abi::Vendor::vmx : abi::Vendor::svm; }
void vendor_init() {
    for (u32 i = 0; i < core::io_map_frames; ++i) // by default every port exits
        __builtin_memset(&core::permission_maps[core::machine.io_map + i], 0xff, abi::frame_size);
    core::uses_vmx() ? core::vmx_init() : core::svm_init();
}
void vendor_enable_cpu(u32 core) {
    core::uses_vmx() ? core::vmx_enable_cpu(core) : core::svm_enable_cpu(core);
}
void vendor_disable_cpu() {
    if (core::uses_vmx())
        core::vmx_disable_cpu();
}

} // namespace horos::arch
