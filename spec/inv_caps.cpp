#include "kernel/core/caps.hpp"
#include "kernel/core/frames.hpp"
#include "spec/invariants.hpp"

namespace horos::spec {

// Objects that capabilities name. Tables, control blocks and maps are reached through others.
static bool has_capabilities(ObjectType type) {
    switch (type) {
    case ObjectType::reserved:
    case ObjectType::kernel:
    case ObjectType::cap_table:
    case ObjectType::page_table:
    case ObjectType::vmcb:
    case ObjectType::fpu:
    case ObjectType::io_map:
    case ObjectType::msr_map:
        return false;
    default:
        return type <= ObjectType::block;
    }
}

bool inv_slot_form(Frame table, u32 i) {
    const CapSlot& s = cap_tables[table].slots[i];
    if (s.rights == 0)
        return s.object == 0 && s.generation == 0 && s.badge == 0 && s.type == ObjectType::ram &&
               s.pad == 0;
    return (s.rights & ~right::all) == 0 && has_capabilities(s.type) && s.pad == 0;
}

bool inv_slot_object(Frame table, u32 i) {
    const CapSlot& s = cap_tables[table].slots[i];
    if (s.rights == 0)
        return true;
    const bool exists = s.type == ObjectType::block
                            ? s.object < machine.frame_limit / frames_per_block
                            : frame_exists(s.object);
    return exists && s.generation <= generation_of(s.type, s.object);
}

bool inv_slot_alive(Frame table, u32 i) {
    const CapSlot& s = cap_tables[table].slots[i];
    if (s.rights == 0 || s.generation != generation_of(s.type, s.object))
        return true;
    if (s.type == ObjectType::block)
        return blocks[s.object].state == BlockState::whole;
    return blocks[block_of(s.object)].state == BlockState::split && frames[s.object].type == s.type;
}

bool inv_domain_table(Frame domain, u32 i) {
    const Frame table = domains[domain].tables[i];
    return table == 0 ? i != 0 : frame_exists(table) && frames[table].type == ObjectType::cap_table;
}

} // namespace horos::spec
