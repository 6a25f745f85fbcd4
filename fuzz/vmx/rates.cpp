// How many cases a second the target runs by itself.
#include "campaign.hpp"

namespace horos::fuzz::vmx {

using namespace model::vmx;

Rates measure(const Options& options, double seconds) {
    const Profile& profile = builtin_profile(options.profile);
    Bochs bochs(options.cpu);
    const FieldLists lists = field_lists(profile);
    bochs.set_fields(lists.write, lists.write_slots, lists.read, lists.read_slots);
    bochs.start();
    Test test;
    test.state = canonical(default_state(profile), profile, bochs.host());
    Case full = make_case(test);
    full.flags = FLAG_LAUNCHED;
    (void)bochs.run({full});
    full.flags = FLAG_LAUNCHED | FLAG_RESUME;
    const auto rate = [&](const Case& c) {
        const std::vector<Case> cases(LANE_SLOTS, c);
        const auto begin = std::chrono::steady_clock::now();
        const auto elapsed = [&] {
            return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        };
        uint64_t done = 0;
        bochs.post(0, cases);
        unsigned lane = 1;
        for (; elapsed() < seconds; lane ^= 1) {
            bochs.post(lane, cases);
            done += bochs.take(lane ^ 1).size();
        }
        (void)bochs.take(lane ^ 1);
        return double(done) / elapsed();
    };
    Case bare = full;
    bare.flags = FLAG_BARE;
    return {rate(full), rate(bare)};
}

} // namespace horos::fuzz::vmx
