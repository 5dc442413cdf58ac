// SPDX-License-Identifier: Apache-2.0
// 9P2000.L codec, the same for client and server. Every byte that comes in is hostile on both
// sides: decoding checks counts, sizes, names and that nothing is left over, and gives views into
// the frame (struct span); nothing is copied or allocated. The caller owns the frame and keeps it
// for as long as it uses the views.
//
// Frame: size[4] type[1] tag[2] body, little endian. One frame per SOCK_SEQPACKET record.
#pragma once
#include "base/span.h"
#include "base/strbuf.h"

constexpr uint32_t NP_NOFID = 0xffffffffu;
constexpr uint16_t NP_NOTAG = 0xffffu;
constexpr size_t NP_HDR = 7;
constexpr uint32_t NP_MSIZE_MAX = 1u << 20;
constexpr uint32_t NP_MSIZE_MIN = 4096;
constexpr uint32_t NP_MSIZE_DEFAULT = 64 << 10;
constexpr size_t NP_MAXWALK = 16;
constexpr size_t NP_NAME_MAX = 255;
constexpr size_t NP_STR_MAX = 4096;
constexpr size_t NP_OPEN_MAX = 32;
constexpr uint8_t NP_EXT_FIRST = 140;
#define NP_VERSION "9P2000.L"
#define NP_VERSION_EXT "9P2000.L.nacre"

enum : uint8_t { NP_QTDIR = 0x80, NP_QTSYMLINK = 0x02, NP_QTFILE = 0 };
enum : uint32_t { // Tsetattr.valid
    NP_SET_MODE = 1, NP_SET_UID = 2, NP_SET_GID = 4, NP_SET_SIZE = 8, NP_SET_ATIME = 16,
    NP_SET_MTIME = 32, NP_SET_CTIME = 64, NP_SET_ATIME_SET = 128, NP_SET_MTIME_SET = 256,
};
// Twalkopen.flags, beside the O_* of Linux: open on the server even where descriptors are donated.
constexpr uint32_t NP_OPEN_NODONATE = 1u << 31;
constexpr uint64_t NP_GETATTR_BASIC = 0x7ff;
constexpr uint64_t NP_GETATTR_BTIME = 0x800;

struct np_qid {
    uint8_t type;
    uint32_t version;
    uint64_t path;
};
struct np_names {
    uint16_t n;
    struct span v[NP_MAXWALK];
};
struct np_qids {
    uint16_t n;
    struct np_qid v[NP_MAXWALK];
};
struct np_attr {
    uint32_t mode, uid, gid;
    uint64_t nlink, rdev, size, blksize, blocks, atime_sec, atime_nsec, mtime_sec, mtime_nsec,
        ctime_sec, ctime_nsec, btime_sec, btime_nsec, gen, data_version;
};
struct np_nodes { // n entries of NP_NODE_SIZE bytes; see np_node_get
    uint16_t n;
    struct span raw;
};
constexpr size_t NP_QID_SIZE = 13;
constexpr size_t NP_ATTR_SIZE = 3 * 4 + 15 * 8;
constexpr size_t NP_NODE_SIZE = NP_QID_SIZE + NP_ATTR_SIZE;

typedef uint8_t np_u8;
typedef uint16_t np_u16;
typedef uint32_t np_u32;
typedef uint64_t np_u64;
typedef struct span np_str;
typedef struct span np_name;
typedef struct span np_data;
typedef struct np_qid np_qid;
typedef struct np_qids np_qids;
typedef struct np_names np_names;
typedef struct np_attr np_attr;
typedef struct np_nodes np_nodes;

#define F(kind, name) np_##kind name;
#define MSG(name, number, fields) \
    struct np_##name {            \
        fields                    \
    };
#include "ninep/ninep.def"
#undef MSG
#undef F

enum np_type : uint8_t {
#define MSG(name, number, fields) NP_##name = number,
#include "ninep/ninep.def"
#undef MSG
};
struct np_msg {
    uint8_t type;
    uint16_t tag;
    union {
#define MSG(name, number, fields) struct np_##name name;
#include "ninep/ninep.def"
#undef MSG
    };
};

// The frame's size field, or 0 when fewer than 4 bytes are there.
uint32_t np_frame_size(const void *p, size_t n);
// A whole frame, size field included. -EPROTO: not a well-formed message of a known type.
// The tag is set even then, if the header is there, so that a server can answer.
MUST_CHECK int np_decode(const void *p, size_t n, struct np_msg *m);
// Appends a frame. -EMSGSIZE: it does not fit.
MUST_CHECK int np_encode(struct wspan *w, const struct np_msg *m);
void np_print(struct strbuf *b, const struct np_msg *m);
const char *np_type_name(uint8_t type); // null when unknown

// One path component that may be passed to openat: 1-255 bytes, no '/' or NUL, not "." or "..".
bool np_name_ok(struct span s);
static inline struct span np_cstr(const char *s)
{
    return span_of(s, strlen(s));
}

// Elements of the compound fields. Getters consume; false at the end or when malformed (s->bad).
bool np_node_get(struct span *s, struct np_qid *q, struct np_attr *a);
void np_node_put(struct wspan *w, const struct np_qid *q, const struct np_attr *a);
struct np_dirent {
    struct np_qid qid;
    uint64_t offset; // where to go on after this entry
    uint8_t type;    // DT_*
    bool has_attr;   // Rreaddirplus only
    struct span name;
    struct np_attr attr;
};
bool np_dirent_get(struct span *s, struct np_dirent *d);
bool np_dirent_put(struct wspan *w, const struct np_dirent *d); // false, nothing put: full
bool np_dirent_plus_get(struct span *s, struct np_dirent *d);
bool np_dirent_plus_put(struct wspan *w, const struct np_dirent *d);

// Names one after the other, in Tlisttree and Topenfiles.
bool np_name_next(struct span *s, struct span *name);
bool np_name_add(struct wspan *w, struct span name); // false, nothing put: full
// One directory of Rlisttree; parent: the number of an earlier record, NP_NOFID: the fid's own.
struct np_tree_dir {
    uint32_t parent;
    uint64_t ino;         // qid.path
    struct span name;     // np_name_ok
    struct span entries;  // for np_dirent_plus_get
};
bool np_tree_get(struct span *s, struct np_tree_dir *d);
// The head of a record, its entries to be put behind it. Where they begin; 0: full, nothing put.
size_t np_tree_begin(struct wspan *w, uint32_t parent, uint64_t ino, struct span name);
void np_tree_end(struct wspan *w, size_t begin);
// One file of Ropenfiles.
struct np_opened {
    bool open;    // its descriptor is there
    uint64_t ino; // qid.path
};
bool np_opened_get(struct span *s, struct np_opened *o);
bool np_opened_put(struct wspan *w, const struct np_opened *o); // false, nothing put: full
