#include "emul/fetch.hpp"

namespace horos::vmm {
namespace {

constexpr u64 page_bytes = 4096;

bool same(const u8* a, const u8* b, unsigned count) {
    for (unsigned i = 0; i < count; ++i)
        if (a[i] != b[i])
            return false;
    return true;
}

// The same for memory that has at least 15 bytes, read as one or two overlapping words.
bool same_bytes(const u8* a, const u8* b, unsigned count) {
    u64 x, y;
    __builtin_memcpy(&x, a, 8);
    __builtin_memcpy(&y, b, 8);
    if (count <= 8)
        return ((x ^ y) & byte_mask(count)) == 0;
    if (x != y)
        return false;
    __builtin_memcpy(&x, a + 7, 8);
    __builtin_memcpy(&y, b + 7, 8);
    return ((x ^ y) & byte_mask(count - 7)) == 0;
}

} // namespace

Outcome fetch(const abi::VcpuState& cpu, const GuestMemory& memory, InstructionBytes& result) {
    if (cpu.instruction_count != 0) {
        result.count = cpu.instruction_count > max_instruction_bytes ? max_instruction_bytes
                                                                     : cpu.instruction_count;
        __builtin_memcpy(result.copy.data(), cpu.instruction, sizeof result.copy);
        result.bytes = result.copy.data();
        return Outcome::done();
    }
    const PagingState paging = paging_state(cpu);
    const u64 linear = linear_rip(cpu);
    const Translation first = translate(memory, paging, linear, Access::fetch, false);
    if (first.status != Translation::Status::ok)
        return translation_outcome(first, linear);
    const u64 left = page_bytes - (linear & (page_bytes - 1));
    const unsigned here =
        left < max_instruction_bytes ? static_cast<unsigned>(left) : max_instruction_bytes;
    const u8* place = memory.at(first.address, here);
    if (place == nullptr)
        return Outcome::unsupported("the instruction lies outside the guest's RAM");
    result.bytes = place;
    result.count = here;
    if (here == max_instruction_bytes)
        return Outcome::done();
    __builtin_memcpy(result.copy.data(), place, here);
    result.bytes = result.copy.data();
    const Translation second = translate(memory, paging, linear + here, Access::fetch, false);
    const unsigned rest = max_instruction_bytes - here;
    const u8* more =
        second.status == Translation::Status::ok ? memory.at(second.address, rest) : nullptr;
    if (more != nullptr) {
        __builtin_memcpy(result.copy.data() + here, more, rest);
        result.count += rest;
    }
    return Outcome::done();
}

const u8* CodeWindow::walk(const abi::VcpuState& cpu, const GuestMemory& memory) {
    const u64 begin = cpu.rip & ~(page_bytes - 1);
    if (!code_64(cpu) || cpu.rip - begin > page_bytes - max_instruction_bytes)
        return nullptr;
    Page& page = pages_[(cpu.rip >> 12) % pages];
    page = {.cr3 = cpu.cr3, .cr4 = cpu.cr4, .efer = cpu.efer};
    const Translation found =
        translate(memory, paging_state(cpu), begin, Access::fetch, false, &page.trace);
    if (found.status != Translation::Status::ok || !page.trace.complete())
        return nullptr;
    page.bytes = memory.at(found.address, page_bytes);
    if (page.bytes == nullptr)
        return nullptr;
    page.linear = begin;
    return page.bytes + (cpu.rip - begin);
}

const Instruction* DecodeCache::find(const abi::VcpuState& cpu, const GuestMemory& memory,
                                     Outcome& outcome) {
    const u8* bytes = peek(cpu, memory);
    if (bytes == nullptr)
        return find_slowly(cpu, memory, outcome);
    const Entry& entry = cache_[slot(cpu.rip)];
    if (entry.address != cpu.rip || entry.size != CodeSize::bits_64 ||
        !same_bytes(entry.bytes.data(), bytes, entry.instruction.length))
        return find_slowly(cpu, memory, outcome);
    return &entry.instruction;
}

const Instruction* DecodeCache::find_slowly(const abi::VcpuState& cpu, const GuestMemory& memory,
                                            Outcome& outcome) {
    InstructionBytes bytes;
    outcome = fetch(cpu, memory, bytes);
    if (!outcome.ok())
        return nullptr;
    const u64 address = linear_rip(cpu);
    const CodeSize size = code_size(cpu);
    Entry& entry = cache_[slot(address)];
    if (entry.address == address && entry.size == size && entry.instruction.length <= bytes.count &&
        same(entry.bytes.data(), bytes.bytes, entry.instruction.length))
        return &entry.instruction;
    return decode_into(entry, address, size, bytes, outcome);
}

const Instruction* DecodeCache::decode_into(Entry& entry, u64 address, CodeSize size,
                                            const InstructionBytes& bytes, Outcome& outcome) {
    ++misses_;
    // Decoding works on a copy: the guest may be changing the bytes meanwhile.
    entry.address = ~u64{0};
    __builtin_memcpy(entry.bytes.data(), bytes.bytes, bytes.count);
    if (!decode(entry.bytes.data(), bytes.count, size, entry.instruction)) {
        outcome = Outcome::unsupported("bytes that are no instruction");
        return nullptr;
    }
    entry.address = address;
    entry.size = size;
    return &entry.instruction;
}

} // namespace horos::vmm
