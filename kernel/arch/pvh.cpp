// The PVH boot protocol: struct hvm_start_info (Xen, public/arch-x86/hvm/start_info.h).
#include "boot_data.hpp"

namespace horos::arch {
namespace {

struct StartInfo {
    u32 magic;
    u32 version;
    u32 flags;
    u32 module_count;
    u64 modules;
    u64 command_line;
    u64 rsdp;
    u64 map; // from version 1
    u32 map_count;
    u32 reserved;
};
static_assert(sizeof(StartInfo) == 56);

struct Module {
    u64 base;
    u64 size;
    u64 command_line;
    u64 reserved;
};

struct MemoryMapEntry {
    u64 base;
    u64 size;
    u32 type; // as E820: 1 = RAM
    u32 reserved;
};

constexpr u32 start_magic = 0x336ec578;

} // namespace

Complaint parse_pvh(const PhysMemory& memory, u64 start_info, BootData& out) {
    out = {};
    StartInfo info;
    if (!memory.read(start_info, info))
        return "the PVH start information lies outside memory";
    if (info.magic != start_magic)
        return "the PVH start information has a wrong magic number";
    if (info.version < 1)
        return "the PVH start information has no memory map";
    if (info.map_count > BootData::max_map)
        return "the memory map has more than 256 entries";
    for (u32 i = 0; i < info.map_count; ++i) {
        MemoryMapEntry entry;
        if (!memory.read(info.map + i * sizeof entry, entry))
            return "the PVH memory map lies outside memory";
        if (Complaint wrong = add_map_entry(out, entry.base, entry.size, entry.type == 1))
            return wrong;
    }
    out.module_count = info.module_count;
    if (info.module_count > 0) {
        Module module;
        if (!memory.read(info.modules, module))
            return "the PVH module list lies outside memory";
        out.module_base = module.base;
        out.module_size = module.size;
    }
    out.rsdp = info.rsdp;
    if (info.command_line == 0)
        return nullptr;
    return copy_command_line(memory, info.command_line, ~u64{0}, out);
}

} // namespace horos::arch
