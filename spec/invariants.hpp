// What is true of the kernel's state whenever the kernel lock is free. Each function is one
// statement about the object, slot or entry that its arguments name; together, over all arguments,
// they are what every hypercall must preserve. A frame argument of an object's statement names a
// frame of that type.
#pragma once
#include "spec/contributions.hpp"

namespace horos::spec {

// ---- facts of the machine (inv_machine.cpp)
bool inv_machine();
bool inv_svm_limits();          // (inv_svm.cpp)
bool inv_machine_io_map(u32 i); // i-th frame
bool inv_machine_msr_map(u32 i);
bool inv_machine_host_frames(u32 i);
bool inv_frame_zero();
bool inv_core_absent(u32 core); // one that the machine does not have

// ---- frames and blocks (inv_memory.cpp)
bool inv_frame_type(Frame f);       // a known type; frame 0 is never an object
bool inv_frame_in_block(Frame f);   // only frames of split blocks have a life of their own
bool inv_frame_owner(Frame f);      // owners are domains; nobody owns reserved or kernel frames
bool inv_frame_level(Frame f);      // level and live count belong to page tables only
bool inv_frame_mappings(Frame f);   // only ordinary memory is mapped
bool inv_frame_references(Frame f); // how often each type can be referred to
bool inv_frame_generation(Frame f); // an object's generation was raised when it was made
bool inv_block(Block b);

// ---- capabilities (inv_caps.cpp)
bool inv_slot_form(Frame table, u32 i);   // an empty slot is all zero, rights are known ones
bool inv_slot_object(Frame table, u32 i); // its object exists, its generation is not in the future
bool inv_slot_alive(Frame table, u32 i);  // alive: the object still is what the slot says
bool inv_domain_table(Frame domain, u32 i);

// ---- address spaces (inv_spaces.cpp)
bool inv_entry_form(Frame table, u32 i);   // no bits but those that its kind has
bool inv_entry_target(Frame table, u32 i); // tables one level down, ordinary memory, free devices
bool inv_space(Frame space);
bool inv_space_root(Frame space, u32 i); // i-th entry of its top table
bool inv_host_leaf(
    u64 entry); // of an entry that a host space reaches: never writable and executable

// ---- threads and time (inv_threads.cpp, inv_sched.cpp)
bool inv_thread_links(Frame thread);
bool inv_thread_context(Frame thread);
bool inv_thread_waiting(Frame thread);
bool inv_thread_serving(Frame thread);
bool inv_thread_vcpu(Frame thread);
bool inv_sched_context(Frame sc);
bool inv_position(u32 core, u32 position); // scheduling context at a position
bool inv_ready(u32 core, u32 position);    // ready exactly when its thread can run
bool inv_timed(u32 core, u32 position);    // a deadline only for who waits or runs a guest
bool inv_core_objects(u32 core);           // what a core holds exists
bool inv_core_holds(u32 core);             // ... and is the core's, so that its end sees it there
bool inv_core_current(u32 core);           // who runs may run, unless the core is to look again
bool inv_core_windows(u32 core);
bool inv_window(u32 core, u32 index);
bool inv_core_tags(u32 core); // the next TLB tag to hand out

// ---- communication and devices (inv_ipc.cpp, inv_devices.cpp)
bool inv_endpoint(Frame endpoint);
bool inv_endpoint_caller(Frame endpoint, u32 position);
bool inv_notification(Frame notification);
bool inv_interrupt(Frame interrupt);
bool inv_vector(u32 vector);
bool inv_ports(Frame ports);
bool inv_mmio(Frame mmio);
bool inv_core_object(Frame object);

// ---- virtual CPUs (inv_vcpu.cpp; inv_svm.cpp knows the VMCB)
bool inv_vcpu_links(Frame vcpu);
bool inv_vcpu_thread(Frame vcpu);
bool inv_vmcb_intercepts(Frame vcpu); // what no VMM can switch off is on
bool inv_vmcb_paging(Frame vcpu);     // nested paging, with the tables of its space
bool inv_vmcb_maps(Frame vcpu);       // permission maps of the kernel's choice
bool inv_vmcb_current(Frame vcpu);    // ... which are its space's when nothing is to be renewed
bool inv_vmcb_tag(Frame vcpu);        // ASID in range
bool inv_tag(Frame vcpu);             // a tag that is in force was handed out by its core
bool inv_tags_differ(Frame vcpu, Frame other);
bool inv_vmcb_host_owned(Frame vcpu); // features that Horos does not use are off
bool inv_vmcb_state(Frame vcpu);      // what VMRUN checks and the guard promises
bool inv_vmcb_event(Frame vcpu);      // what is to be injected can be

// ---- the same on VMX (inv_vmx.cpp), true of nothing on SVM
bool inv_vmx_limits();
bool inv_vmx_vcpu(Frame vcpu); // what the kernel keeps beside a VMCS
bool inv_vmx_core(u32 core);   // a core holds a control block, or none

} // namespace horos::spec
