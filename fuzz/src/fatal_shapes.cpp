#include "worker.hpp"

namespace horos::fuzz {

namespace {
constexpr unsigned KNOWN_AFTER = 3;      // deaths of one cluster
constexpr unsigned LEARNED_SAMPLE = 200; // one of so many is run all the same
constexpr unsigned TRIAGED_SAMPLE = 512;
} // namespace

// A case that is refused has no features; then the rules that it breaks say what it is.
FatalShapes::Features FatalShapes::signature(const svm_model::Prediction& p) {
    Features bits = p.features;
    const svm_model::RuleSet broken = p.broken & p.applicable;
    for (size_t i = 0; i < broken.size(); ++i)
        if (broken.test(i))
            bits.set(bits.size() - broken.size() + i);
    return bits;
}

void FatalShapes::died(const std::string& cluster, const Features& features) {
    Entry& entry = learned_[cluster];
    entry.common = entry.hits++ == 0 ? features : entry.common & features;
}

void FatalShapes::survived(const Features& features) {
    for (auto& [name, entry] : learned_)
        if (entry.hits >= KNOWN_AFTER && (features & entry.common) == entry.common)
            ++entry.harmless;
}

bool FatalShapes::avoid(const Features& features, Random& random) const {
    for (const auto& [name, entry] : learned_)
        if (entry.hits >= KNOWN_AFTER && entry.harmless < 20 * entry.hits &&
            (features & entry.common) == entry.common)
            return !random.oneIn(LEARNED_SAMPLE);
    return false;
}

bool FatalShapes::avoid(const Triaged& entry, Random& random) {
    FatalCount& count = triaged_[entry.id];
    if (count.died == 0 || random.oneIn(TRIAGED_SAMPLE))
        return false;
    ++count.leftOut;
    return true;
}

} // namespace horos::fuzz
