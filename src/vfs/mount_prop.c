// SPDX-License-Identifier: Apache-2.0
// Mount propagation (mount_namespaces(7)): peer groups by number, and what a mount or unmount on a
// shared mount does to its peers and slaves.
#include "vfs/mount_int.h"
#include "abi/errno.h"

struct targets {
    struct mount **v; // owned; the mounts are attached, so mount_lock keeps them
    size_t n, cap;
};

static bool receives(const struct mount *m, const struct targets *t, uint64_t group)
{
    if (group && (m->peer_group == group || m->master_group == group))
        return true;
    for (size_t i = 0; i < t->n; i++) // slaves of receivers, peers of slaves
        if (t->v[i]->peer_group &&
            (m->master_group == t->v[i]->peer_group || m->peer_group == t->v[i]->peer_group))
            return true;
    return false;
}

static bool listed(const struct mount *m, const struct targets *t)
{
    for (size_t i = 0; i < t->n; i++)
        if (t->v[i] == m)
            return true;
    return false;
}

// Every attached mount that events on `from` reach, itself excluded.
static int collect(struct mount *from, struct targets *t)
{
    if (!from->peer_group)
        return 0;
    size_t total = 0;
    spin_lock(&mount_spin);
    list_for_each(it, &all_mounts)
        total++;
    spin_unlock(&mount_spin);
    t->v = mem_alloc_array(total, sizeof(*t->v));
    if (!t->v)
        return -ENOMEM;
    t->cap = total;
    spin_lock(&mount_spin);
    for (bool more = true; more;) {
        more = false;
        list_for_each(it, &all_mounts) {
            struct mount *m = list_entry(it, struct mount, all);
            if (m == from || !m->ns || t->n == t->cap || listed(m, t) ||
                !receives(m, t, from->peer_group))
                continue;
            t->v[t->n++] = m;
            more = true;
        }
    }
    spin_unlock(&mount_spin);
    return 0;
}

static void share_tree(struct mount *top)
{
    for (struct mount *m = top; m; m = mount_next(m, top, false))
        if (!m->peer_group)
            m->peer_group = mount_new_group();
}

// A copy on a slave is a slave of the original; on a slave that is shared itself, both.
static void enslave_tree(struct mount *top, bool shared)
{
    for (struct mount *m = top; m; m = mount_next(m, top, false)) {
        m->master_group = m->peer_group;
        m->peer_group = shared ? mount_new_group() : 0;
    }
}

int mount_attach_propagate_locked(struct mount *m, struct mount *parent, struct dentry *at)
{
    struct targets t = {};
    int err = collect(parent, &t);
    if (err)
        return err;
    if (parent->peer_group)
        share_tree(m);
    for (size_t i = 0; i < t.n; i++) {
        struct mount *to = t.v[i];
        if (!dentry_is_below(at, to->root) || mount_child_locked(to, at))
            continue;
        struct mount *c;
        if (mount_copy_tree_locked(m, m->root, true, true, &c))
            continue; // out of memory: the peer misses one event
        if (to->peer_group != parent->peer_group)
            enslave_tree(c, to->peer_group != 0);
        mount_attach_locked(c, to, at);
        mount_set_ns_locked(c, to->ns);
        mount_put(c);
    }
    mem_free(t.v);
    mount_attach_locked(m, parent, at);
    mount_set_ns_locked(m, parent->ns);
    return 0;
}

void mount_detach_propagate_locked(struct mount *parent, struct dentry *at, struct mount_garbage *g)
{
    struct targets t = {};
    if (collect(parent, &t))
        return;
    for (size_t i = 0; i < t.n; i++) {
        struct mount *c = mount_child_locked(t.v[i], at);
        if (c && list_empty(&c->children))
            mount_detach_tree_locked(c, g);
    }
    mem_free(t.v);
}

bool mount_group_has_peers_locked(struct mount *m)
{
    bool found = false;
    spin_lock(&mount_spin);
    list_for_each(it, &all_mounts) {
        struct mount *o = list_entry(it, struct mount, all);
        if (o != m && o->ns && o->peer_group == m->peer_group) {
            found = true;
            break;
        }
    }
    spin_unlock(&mount_spin);
    return found;
}
