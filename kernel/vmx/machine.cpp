#include "kernel/core/shell.hpp"
#include "kernel/vmx/vmx.hpp"

namespace horos::core {

const char* vmx_missing() { return "this kernel cannot use VMX yet"; }
void vmx_init() {}
void vmx_enable_cpu(u32) {}
void vmx_disable_cpu() {}
void vmx_init_vcpu(Frame) {}
void vmx_end_vcpu(Frame) {}
void vmx_init_msr_map(Frame) {}
bool vmx_set_msr(Frame, u32, u8) { return false; }
u32 vmx_take_state(Frame) { return 0; }
ExitReason vmx_enter(u32, Frame) { shell_stop("VMX"); }
void vmx_store_exit(Frame, ExitReason, u64) {}

} // namespace horos::core
