// The memories that come with the library, and VMLOAD of a guest context.
#include "horos/model/svm/machine.hpp"

#include <cstring>

namespace horos::model::svm {

namespace {

bool copy_piece(uint64_t base, std::span<const uint8_t> bytes, uint64_t address,
                std::span<uint8_t> to) {
    if (address < base || address - base > bytes.size() ||
        to.size() > bytes.size() - (address - base)) {
        return false;
    }
    std::memcpy(to.data(), bytes.data() + (address - base), to.size());
    return true;
}

} // namespace

bool FlatMemory::read(uint64_t address, std::span<uint8_t> to) const {
    return copy_piece(base_, bytes_, address, to);
}

bool PiecewiseMemory::read(uint64_t address, std::span<uint8_t> to) const {
    for (const Piece& piece : pieces_) {
        if (copy_piece(piece.base, piece.bytes, address, to)) {
            return true;
        }
    }
    return false;
}

void GuestContext::vmload(const Vmcb& from) {
    const horos::svm::SaveArea& save = from.save;
    fs = save.fs;
    gs = save.gs;
    ldtr = save.ldtr;
    tr = save.tr;
    kernel_gs_base = save.kernel_gs_base;
    star = save.star;
    lstar = save.lstar;
    cstar = save.cstar;
    sfmask = save.sfmask;
    sysenter_cs = save.sysenter_cs;
    sysenter_esp = save.sysenter_esp;
    sysenter_eip = save.sysenter_eip;
}

} // namespace horos::model::svm
