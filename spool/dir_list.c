#include "dir_list.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "err.h"

static int add(struct dir_list *list, const char *name)
{
	if (list->count == list->room) {
		size_t room = list->room ? 2 * list->room : 64;
		char **names = realloc(list->names, room * sizeof *names);
		if (!names)
			return ERR_NOMEM;
		list->names = names;
		list->room = room;
	}
	list->names[list->count] = strdup(name);
	return list->names[list->count++] ? 0 : ERR_NOMEM;
}

static int compare(const void *left, const void *right)
{
	return strcmp(*(char *const *)left, *(char *const *)right);
}

int dir_list_read(int dirfd, struct dir_list *out)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		if (fd >= 0)
			close(fd);
		return ERR_IO;
	}
	struct dir_list list = { NULL, 0, 0 };
	int err = 0;
	for (struct dirent *entry; !err && (entry = readdir(dir)) != NULL;) {
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			err = add(&list, entry->d_name);
	}
	closedir(dir);
	if (err) {
		dir_list_free(&list);
		return err;
	}
	if (list.count > 1)
		qsort(list.names, list.count, sizeof *list.names, compare);
	*out = list;
	return 0;
}

void dir_list_free(struct dir_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->names[i]);
	free(list->names);
	*list = (struct dir_list){ NULL, 0, 0 };
}
