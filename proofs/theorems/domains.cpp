// What each invariant ranges over. An invariant that is not listed is an error, not an assumption.
#include "kernel.hpp"

#include <map>

namespace horos::proofs {

namespace {

constexpr int type(ObjectType t) { return static_cast<int>(t); }

Domain frames() { return {Over::frame, Over::nothing, "frames", -1, ""}; }
Domain object(const char* view, ObjectType t) {
    return {Over::frame, Over::nothing, view, type(t), ""};
}
Domain within(const char* view, ObjectType t, Over second, const char* second_key = "") {
    return {Over::frame, second, view, type(t), second_key};
}
Domain position() { return {Over::core, Over::position, "cores", -1, "cores"}; }

const std::map<std::string, Domain>& all() {
    using T = ObjectType;
    static const std::map<std::string, Domain> table{
        {"inv_machine", {}},
        {"inv_svm_limits", {}},
        {"inv_frame_zero", {}},
        {"inv_machine_io_map", {Over::small, Over::nothing, "", 3, ""}},
        {"inv_machine_msr_map", {Over::small, Over::nothing, "", 2, ""}},
        {"inv_machine_host_frames", {Over::host_frame, Over::nothing, "", -1, ""}},
        {"inv_core_absent", {Over::any_core, Over::nothing, "cores", -1, ""}},
        {"inv_tag", object("vcpus", T::vcpu)},
        {"inv_tags_differ", within("vcpus", T::vcpu, Over::frame, "vcpus")},
        {"inv_frame_type", frames()},
        {"inv_frame_in_block", frames()},
        {"inv_frame_owner", frames()},
        {"inv_frame_level", frames()},
        {"inv_frame_mappings", frames()},
        {"inv_frame_references", frames()},
        {"inv_frame_generation", frames()},
        {"inv_block", {Over::block, Over::nothing, "blocks", -1, ""}},
        {"ghost_domain", within("domains", T::domain, Over::table)},
        {"ghost_space", object("spaces", T::space)},
        {"ghost_roots", within("spaces", T::space, Over::frame, "spaces")},
        {"ghost_flushes", object("spaces", T::space)},
        {"ghost_thread", object("threads", T::thread)},
        {"ghost_sched_context", object("sched_contexts", T::sched_context)},
        {"ghost_interrupt", object("interrupts", T::interrupt)},
        {"ghost_vcpu", object("vcpus", T::vcpu)},
        {"ghost_entry", within("page_tables", T::page_table, Over::entry)},
        {"ghost_frame_owner", frames()},
        {"ghost_block_owner", {Over::block, Over::nothing, "blocks", -1, ""}},
        {"inv_slot_form", within("cap_tables", T::cap_table, Over::slot)},
        {"inv_slot_object", within("cap_tables", T::cap_table, Over::slot)},
        {"inv_slot_alive", within("cap_tables", T::cap_table, Over::slot)},
        {"inv_domain_table", within("domains", T::domain, Over::table)},
        {"inv_entry_form", within("page_tables", T::page_table, Over::entry)},
        {"inv_entry_target", within("page_tables", T::page_table, Over::entry)},
        {"inv_space", object("spaces", T::space)},
        {"inv_space_root", within("spaces", T::space, Over::entry, "page_tables")},
        {"inv_thread_links", object("threads", T::thread)},
        {"inv_thread_context", object("threads", T::thread)},
        {"inv_thread_waiting", object("threads", T::thread)},
        {"inv_thread_serving", object("threads", T::thread)},
        {"inv_thread_vcpu", object("threads", T::thread)},
        {"inv_sched_context", object("sched_contexts", T::sched_context)},
        {"inv_position", position()},
        {"inv_ready", position()},
        {"inv_timed", position()},
        {"inv_window", position()},
        {"inv_core_objects", {Over::core, Over::nothing, "cores", -1, ""}},
        {"inv_core_holds", {Over::core, Over::nothing, "cores", -1, ""}},
        {"inv_core_current", {Over::core, Over::nothing, "cores", -1, ""}},
        {"inv_core_windows", {Over::core, Over::nothing, "cores", -1, ""}},
        {"inv_core_tags", {Over::core, Over::nothing, "cores", -1, ""}},
        {"inv_endpoint", object("endpoints", T::endpoint)},
        {"inv_endpoint_caller", within("endpoints", T::endpoint, Over::position, "cores")},
        {"inv_notification", object("notifications", T::notification)},
        {"inv_interrupt", object("interrupts", T::interrupt)},
        {"inv_vector", {Over::vector, Over::nothing, "irq_of_vector", -1, ""}},
        {"inv_ports", object("port_ranges", T::ports)},
        {"inv_mmio", object("mmio_ranges", T::mmio)},
        {"inv_core_object", object("core_objects", T::core)},
        {"inv_vcpu_links", object("vcpus", T::vcpu)},
        {"inv_vcpu_thread", object("vcpus", T::vcpu)},
        {"inv_vmcb_intercepts", object("vcpus", T::vcpu)},
        {"inv_vmcb_paging", object("vcpus", T::vcpu)},
        {"inv_vmcb_maps", object("vcpus", T::vcpu)},
        {"inv_vmcb_current", object("vcpus", T::vcpu)},
        {"inv_vmcb_tag", object("vcpus", T::vcpu)},
        {"inv_vmcb_host_owned", object("vcpus", T::vcpu)},
        {"inv_vmcb_state", object("vcpus", T::vcpu)},
        {"inv_vmcb_event", object("vcpus", T::vcpu)},
        {"inv_vmx_limits", {}},
        {"inv_vmx_vcpu", object("vcpus", T::vcpu)},
        {"inv_vmx_core", {Over::core, Over::nothing, "cores", -1, ""}},
        {"reach_owned_frame", frames()},
        {"reach_owned_block", {Over::block, Over::nothing, "blocks", -1, ""}},
        {"reach_slot", within("cap_tables", T::cap_table, Over::slot)},
        {"reach_domain", within("domains", T::domain, Over::table)},
        {"reach_entry", within("page_tables", T::page_table, Over::entry)},
        {"reach_space", object("spaces", T::space)},
        {"reach_thread", object("threads", T::thread)},
        {"reach_sched_context", object("sched_contexts", T::sched_context)},
        {"reach_endpoint", object("endpoints", T::endpoint)},
        {"reach_notification", object("notifications", T::notification)},
        {"reach_interrupt", object("interrupts", T::interrupt)},
        {"reach_vcpu", object("vcpus", T::vcpu)},
        {"reach_vector", {Over::vector, Over::nothing, "irq_of_vector", -1, ""}},
        {"reach_core_object", object("core_objects", T::core)},
        {"reach_core", {Over::core, Over::nothing, "cores", -1, ""}},
        {"reach_position", position()},
    };
    return table;
}

} // namespace

const Domain* domain_of(const std::string& invariant) {
    const auto at = all().find(invariant);
    return at == all().end() ? nullptr : &at->second;
}

int type_of_view(const std::string& name) {
    using T = ObjectType;
    static const std::map<std::string, T> types{
        {"cap_tables", T::cap_table}, {"page_tables", T::page_table},
        {"domains", T::domain},       {"spaces", T::space},
        {"threads", T::thread},       {"sched_contexts", T::sched_context},
        {"endpoints", T::endpoint},   {"notifications", T::notification},
        {"interrupts", T::interrupt}, {"port_ranges", T::ports},
        {"mmio_ranges", T::mmio},     {"core_objects", T::core},
        {"vcpus", T::vcpu},           {"vmcbs", T::vmcb},
        {"vmcss", T::vmcb},           {"state_pages", T::ram}};
    const auto at = types.find(name);
    return at == types.end() ? -1 : type(at->second);
}

} // namespace horos::proofs
